"""`eventsam view`: files for every kind of --out, from a recording with frames and from real ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from events_support import random_events
from PIL import Image
from typer.testing import CliRunner, Result

from ray_jobs.view_command import view

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside this checkout")


def run(*arguments: object) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(view)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A text recording of 0.2 s with two frames."""
    root = tmp_path / "walk"
    root.mkdir()
    events = random_events(0, 3000, 30, 40, 200_000)
    seconds = (events.t - events.t[0]) / 1e6
    rows = zip(seconds, events.x, events.y, events.p, strict=True)
    (root / "events.txt").write_text("".join(f"{t:.6f} {x} {y} {p}\n" for t, x, y, p in rows))
    (root / "images.txt").write_text("0.05 a.png\n0.15 b.png\n")
    for name, grey in (("a.png", 60), ("b.png", 180)):
        cv2.imwrite(str(root / name), np.full((30, 40), grey, np.uint8))
    return root


def num_frames(path: Path) -> int:
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))


def test_a_folder_gets_everything(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "--out", tmp_path / "shown")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "shown").iterdir()) == ["rates.png", "strip.png", "video.mp4"]
    assert num_frames(tmp_path / "shown" / "video.mp4") == 9
    for words in ("strip: ", "6 of ", "video: ", "speed x0.5", "rates: "):
        assert words in result.output


def test_the_default_is_a_folder_named_after_the_recording(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(folder.rename(tmp_path / "walk.at.noon")).exit_code == 0
    assert (tmp_path / "walk.at.noon_view" / "strip.png").is_file()


def test_suffixes_choose_and_a_part_is_cut_out(folder: Path, tmp_path: Path) -> None:
    part = ("--start", 0.05, "--end", 0.1, "--window-ms", 10, "--stride-ms", 5)
    result = run(folder, "--out", tmp_path / "part.mp4", "--rate", tmp_path / "plots" / "part.png", "--fps", 10, *part)
    assert result.exit_code == 0, result.output
    assert num_frames(tmp_path / "part.mp4") == 9
    assert "speed x0.05" in result.output
    assert Image.open(tmp_path / "plots" / "part.png").size[0] > 1000
    assert run(folder, "--out", tmp_path / "part.png", "--windows", 3, *part).exit_code == 0
    strip = Image.open(tmp_path / "part.png")
    assert strip.size[0] == 3 * 320 + 4 * 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.mp4", "part.png", "plots", "walk"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--representation", "voxelgrid"), "did you mean 'voxel_grid'"),
        (("--out", "film.avi"), r"ends in '.avi', allowed: .png \(strip\), .mp4 \(video\), or a folder"),
        (("--start", "3"), r"start within the recording of 0\.1\d+ s"),
        (("--window-ms", "0"), "length_ms is 0.0"),
        (("--height", "30"), "height and width together"),
    ],
)
def test_bad_choices_are_said_before_anything_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(folder, *arguments)
    with pytest.raises(ValueError, match=message):
        raise result.exception
    assert list(tmp_path.iterdir()) == [folder]


@real
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("event_vision_library/sample.aedat4", ()),
        ("slider_depth/events_chunk.txt", ("--height", 180, "--width", 240, "--representation", "voxel_grid")),
        ("ijrr_rotation/shapes_rotation", ("--window-ms", 10)),
    ],
)
def test_real_recordings_are_shown(name: str, arguments: tuple[object, ...], tmp_path: Path) -> None:
    result = run(DATA / name, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    strip = np.asarray(Image.open(tmp_path / "out" / "strip.png"))
    # Something is drawn: edges in colour.
    assert (strip.max(axis=2) - strip.min(axis=2) > 100).mean() > 0.001
    assert num_frames(tmp_path / "out" / "video.mp4") >= 8
