"""The DAVIS catalogue: rows, splits, aligned events and faulty folders."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from datasets_catalog.davis import DATASET
from eventsam.dataset import INDEX_COLUMNS, Dataset
from eventsam.io.text import TextRecording
from eventsam.sample import check_sample

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
HEIGHT, WIDTH = 6, 8
CALIBRATION = "8 8 4 3 -0.05 0 0 0 0"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside this checkout")


def recording(root: Path, name: str, num_frames: int = 1, listed: bool = True) -> Path:
    """Write a folder with an event per millisecond for 0.4 s and frames 0.1 s apart, starting at 0."""
    folder = root / name
    folder.mkdir(parents=True)
    rows = [f"{i / 1000:.6f} {i % WIDTH} {i % HEIGHT} {i % 2}" for i in range(400)]
    (folder / "events.txt").write_text("\n".join(rows) + "\n")
    for number in range(num_frames if listed else 1):
        image = np.full((HEIGHT, WIDTH), 10 * number + 1, np.uint8)
        cv2.imwrite(str(folder / (f"{number}.png" if listed else "frame.png")), image)
    if listed:
        (folder / "images.txt").write_text("\n".join(f"{i / 10} {i}.png" for i in range(num_frames)))
    return folder


def test_it_is_a_dataset_with_the_stated_columns(tmp_path: Path) -> None:
    dataset: Dataset = DATASET
    recording(tmp_path, "a", num_frames=3)
    table = dataset.index(tmp_path)
    assert {name: table.schema.field(name).type for name in INDEX_COLUMNS} == dict(INDEX_COLUMNS)
    assert table["t_us"].to_pylist() == [0, 100_000, 200_000]
    assert table["sample_id"].to_pylist() == [f"a/{i:06d}" for i in range(3)]
    assert table["shard"].to_pylist() == ["a"] * 3
    assert table["num_events_around"].to_pylist() == [25, 50, 50]
    assert table["num_events"].to_pylist() == [0, 0, 0]


def test_a_frame_without_events_around_it_gives_no_row(tmp_path: Path) -> None:
    recording(tmp_path, "a", num_frames=7)
    assert DATASET.index(tmp_path)["frame"].to_pylist() == [0, 1, 2, 3, 4]


def test_read_returns_the_frame_and_full_masks(tmp_path: Path) -> None:
    recording(tmp_path, "a", num_frames=3)
    row = DATASET.index(tmp_path).to_pylist()[2]
    keys = [key for key in DATASET.provides if key != "events"]
    sample = DATASET.read(tmp_path, row, keys)
    check_sample(sample, row["sample_id"])
    assert sorted(sample) == sorted(keys)
    assert (sample["rgb"] == 21).all() and sample["rgb"].shape == (3, HEIGHT, WIDTH)
    assert np.array_equal(sample["rgb_blurry"], sample["rgb"])
    assert (sample["mask"] == 1).all() and sample["mask"].shape == (1, HEIGHT, WIDTH)
    # Each array is the caller's own, also of what is read twice.
    sample["rgb"][:] = 0
    assert (sample["rgb_blurry"] == 21).all()
    assert (DATASET.read(tmp_path, row, ["rgb"])["rgb"] == 21).all()
    assert DATASET.read(tmp_path, row, []) == {}


@pytest.mark.parametrize(
    ("key", "message"),
    [("rbg", "did you mean 'rgb'"), ("occupancy", "allowed: rgb"), ("events", "unknown key of davis 'events'")],
)
def test_other_keys_are_refused(tmp_path: Path, key: str, message: str) -> None:
    recording(tmp_path, "a")
    row = DATASET.index(tmp_path).to_pylist()[0]
    with pytest.raises(KeyError, match=message):
        DATASET.read(tmp_path, row, ["rgb", key])


def test_events_of_listed_frames_stay_raw_and_of_a_lone_frame_are_rectified(tmp_path: Path) -> None:
    for name, listed in (("raw", True), ("rectified", False)):
        (recording(tmp_path, name, listed=listed) / "calib.txt").write_text(CALIBRATION)
    table = DATASET.index(tmp_path).to_pylist()
    by_name = {row["object_id"]: DATASET.events(tmp_path, row, 0, 10**6) for row in table}
    plain = TextRecording(tmp_path / "raw").events(0, 10**6)
    assert np.array_equal(by_name["raw"].x, plain.x)
    moved = by_name["rectified"]
    assert not (len(moved) == len(plain) and np.array_equal(moved.x, plain.x) and np.array_equal(moved.y, plain.y))
    assert (moved.height, moved.width) == (HEIGHT, WIDTH)
    assert next(row["t_us"] for row in table if row["object_id"] == "rectified") == 199_500


def test_whole_recordings_go_to_one_split(tmp_path: Path) -> None:
    for number in range(10):
        recording(tmp_path, f"run{number}", num_frames=2)
    table = DATASET.index(tmp_path)
    pairs = set(zip(table["object_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert len(pairs) == 10
    assert sorted(split for _, split in pairs) == ["train"] * 8 + ["val"] * 2
    assert DATASET.index(tmp_path).equals(table)
    assert len(set(table["sample_id"].to_pylist())) == table.num_rows


@pytest.mark.parametrize(
    ("num_frames", "expected"), [(1, ["train"]), (2, ["train", "val"]), (4, ["train"] * 3 + ["val"])]
)
def test_a_lone_recording_keeps_its_last_frames_for_validation(
    tmp_path: Path, num_frames: int, expected: list[str]
) -> None:
    table = DATASET.index(recording(tmp_path, "only", num_frames))
    assert table["split"].to_pylist() == expected
    assert set(table["object_id"].to_pylist()) == {"only"}


def test_a_replaced_recording_is_read_again(tmp_path: Path) -> None:
    folder = recording(tmp_path, "a")
    row = DATASET.index(tmp_path).to_pylist()[0]
    (folder / "events.txt").write_text("0.1 1 1 1\n")
    assert len(DATASET.events(tmp_path, row, 0, 10**6)) == 1


def test_faulty_folders_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent: not a folder"):
        DATASET.index(tmp_path / "absent")
    with pytest.raises(ValueError, match="no frame with events around it"):
        DATASET.index(tmp_path)
    (tmp_path / "cut.aedat4").write_bytes(b"#!AER-DAT4.0\r\n\x00")
    with pytest.raises(ValueError, match=r"cut.aedat4: truncated"):
        DATASET.index(tmp_path)
    (tmp_path / "cut.aedat4").unlink()
    folder = recording(tmp_path, "a", num_frames=2)
    row = DATASET.index(tmp_path).to_pylist()[1]
    (folder / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1.png: not an image"):
        DATASET.read(tmp_path, row, ["rgb"])
    cv2.imwrite(str(folder / "1.png"), np.zeros((HEIGHT + 1, WIDTH), np.uint8))
    with pytest.raises(ValueError, match=r"a: frame 1 has 7x8 pixels, the sensor 6x8"):
        DATASET.index(tmp_path)
    with pytest.raises(ValueError, match="frame 9 was indexed, the recording has 2"):
        DATASET.read(tmp_path, row | {"frame": 9}, ["rgb"])
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match="a: the recording is not there"):
        DATASET.events(tmp_path, row, 0, 1)


@real
def test_real_recordings() -> None:
    table = DATASET.index(DATA)
    rows = table.to_pylist()
    assert table.num_rows == 8
    assert table.schema.field("t_us").type == pa.int64()
    assert {row["split"] for row in rows} == set(DATASET.splits)
    for row in rows:
        around = DATASET.events(DATA, row, row["t_us"] - 25_000, row["t_us"] + 25_000)
        assert len(around) == row["num_events_around"] > 500
        sample = DATASET.read(DATA, row, ["rgb", "mask"])
        check_sample(sample, row["sample_id"])
        assert sample["rgb"].shape[1:] == (around.height, around.width)
        assert sample["rgb"].std() > 5
    exposures = [row["exposure_end_us"] - row["exposure_start_us"] for row in rows]
    assert exposures == [500] * 4 + [0] * 4
