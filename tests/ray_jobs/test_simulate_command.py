"""`eventsam simulate` from a folder of pictures to an event file with its record."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from eventsam.io.detect import open_recording
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.presets import preset
from ray_jobs.simulate_command import simulate, split_inputs

app = typer.Typer()
app.command()(simulate)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures of a grating that drifts by 2 pixels per frame."""
    folder = tmp_path / "frames"
    folder.mkdir()
    columns = np.arange(96)
    for number in range(6):
        row = (128 + 90 * np.sin((columns - 2 * number) * 0.3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), np.tile(row, (72, 1)))
    return folder


def _simulate(*words: str) -> None:
    CliRunner().invoke(app, list(words), catch_exceptions=False, standalone_mode=False)


def test_pictures_become_an_event_file_with_its_sensor(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.npz"
    words = ("--dvs_params", "clean", "--pos_thres", "0.25", "--input_frame_rate", "100", "--seed", "4")
    _simulate(str(pictures), "--out", str(out), *words, "--dvs_exposure", "duration", "0.01", "--preview",
              str(tmp_path / "preview"), "--json", str(tmp_path / "record.json"))  # fmt: skip
    recording = open_recording(out)
    record = json.loads((tmp_path / "events.npz.json").read_text())
    assert record == json.loads((tmp_path / "record.json").read_text())
    assert recording.num_events == record["num_events"] > 1000
    assert (recording.height, recording.width) == (72, 96)
    model = PixelModel(**record["sensor"])
    assert model == PixelModel(on_threshold=0.25, threshold_sigma=preset("clean").threshold_sigma, seed=4,
                               hot_pixel_rate_hz=20.0)  # fmt: skip
    assert record["v2e_parameters"]["pos_thres"] == 0.25 and record["upsampling"]["largest_factor"] >= 2
    previews = sorted((tmp_path / "preview").iterdir())
    # Five whole frames; events at the last instant begin a sixth.
    assert len(previews) in (5, 6) and cv2.imread(str(previews[2]), cv2.IMREAD_GRAYSCALE).shape == (72, 96)


def test_the_same_command_gives_the_same_events(pictures: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for out in outs:
        _simulate(str(pictures), "--out", str(out), "--dvs-params", "noisy", "--input-frame-rate", "100")
    first, second = (open_recording(out).events(0, 1 << 40) for out in outs)
    assert len(first) == len(second) and (first.t == second.t).all()


def test_a_drawn_sensor_is_recorded(pictures: Path, tmp_path: Path) -> None:
    ranges = tmp_path / "ranges.json"
    ranges.write_text('{"pos_thres": [0.3, 0.4]}')
    out = tmp_path / "events.npz"
    _simulate(str(pictures), "--out", str(out), "--input-frame-rate", "50", "--randomise", str(ranges))
    record = json.loads((tmp_path / "events.npz.json").read_text())
    drawn = record["randomised"]
    assert drawn["drawn"]["pos_thres"] == record["sensor"]["on_threshold"]
    assert 0.3 <= drawn["drawn"]["pos_thres"] <= 0.4 and drawn["ranges"]["pos_thres"]["high"] == 0.4
    assert any("cutoff_hz" in warning for warning in record["warnings"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preview", "out.gif"], "gif"),
        (["--output-height", "20"], "together"),
        (["--dvs-exposure", "area 3"], "area_count"),
        (["--pos_thres", "0"], "thresholds"),
        (["--timestamps", "exact"], "slots"),
        (["--format", "npx"], "npx"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_written(
    pictures: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    out = tmp_path / "events.npz"
    with pytest.raises(ValueError, match=message):
        _simulate(str(pictures), "--out", str(out), "--input-frame-rate", "30", *words)
    assert not out.exists() and not Path("out.gif").exists()


def test_numbers_after_v2e_s_exposure_are_not_inputs() -> None:
    assert split_inputs(["clip.mp4", "0.005"], "duration") == ("clip.mp4", ["duration", "0.005"])
    assert split_inputs(["500", "64", "clip.mp4"], "area_count") == ("clip.mp4", ["area_count", "500", "64"])
    assert split_inputs(["clip.mp4"], "count 20") == ("clip.mp4", ["count", "20"])
    with pytest.raises(ValueError, match="one INPUT"):
        split_inputs(["one.mp4", "two.mp4"], None)
