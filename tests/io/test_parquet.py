"""The project's own Parquet: its layout, exact round trips, slices, other writers' files, damage."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_events import any_events, assert_same, in_pieces, random_events
from recording_fuzz import check_damaged

import eventsam.io.parquet_source as module
from eventsam.events import Events, concatenate
from eventsam.io.detect import detect_format, open_recording
from eventsam.io.info import recording_info, xytp
from eventsam.io.parquet import ParquetLayout, open_parquet, verify, write_parquet
from eventsam.io.recording import OpenOptions, RecordingError

QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZE = OpenOptions(height=260, width=346)


def test_the_layout_is_the_stated_one(tmp_path: Path) -> None:
    events = random_events(300_000, 260, 346, 100_000)
    path = tmp_path / "a.parquet"
    write_parquet(path, in_pieces(events, 40_000), 260, 346, ParquetLayout(sensor="DAVIS346", source_format="dat"))
    file = pq.ParquetFile(path)
    assert [(field.name, field.type, field.nullable) for field in file.schema_arrow] == [
        ("x", pa.uint16(), False), ("y", pa.uint16(), False), ("t", pa.int64(), False), ("p", pa.uint8(), False),
    ]  # fmt: skip
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [131072, 131072, 300_000 - 2 * 131072]
    columns = [file.metadata.row_group(0).column(i) for i in range(4)]
    assert all(column.compression == "UNCOMPRESSED" and column.is_stats_set for column in columns)
    assert [column.has_dictionary_page for column in columns] == [True, True, False, True]
    assert "DELTA_BINARY_PACKED" in columns[2].encodings
    assert (columns[2].statistics.min, columns[2].statistics.max) == (events.t[0], events.t[131071])
    stated = {key.decode(): value.decode() for key, value in file.metadata.metadata.items() if key != b"ARROW:schema"}
    assert stated == {
        "eventsam_events": "1", "height": "260", "width": "346", "t_offset_us": "0", "sensor": "DAVIS346",
        "polarity": "1 brighter, 0 darker", "source_format": "dat", "num_events": "300000",
        "sha256_xytp": hashlib.sha256(xytp(events)).hexdigest(),
    }  # fmt: skip


@settings(QUICK, max_examples=50)
@given(
    events=any_events(max_gap=1 << 55), size=st.integers(1, 70), rows=st.sampled_from([1, 3, 65536]),
    codec=st.sampled_from(["none", "zstd"]),
)  # fmt: skip
def test_files_return_every_event(events: Events, size: int, rows: int, codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    layout = ParquetLayout(row_group_events=rows, codec=codec)  # type: ignore[arg-type]
    write_parquet(path, in_pieces(events, size), events.height, events.width, layout)
    recording = open_recording(path)
    assert recording.format == "parquet"
    assert_same(recording.read(), events)
    if len(events):
        middle = int(events.t[len(events) // 2])
        assert_same(recording.events(middle - 9, middle + 9), events.between(middle - 9, middle + 9))
    verify(path)


def test_negative_times_and_the_offset(tmp_path: Path) -> None:
    events = Events.from_arrays([1, 2], [3, 4], [-(2**62), -5], [1, 0], height=9, width=9)
    write_parquet(tmp_path / "a.parquet", [events], 9, 9)
    assert_same(open_recording(tmp_path / "a.parquet").read(), events)
    table = pq.read_table(tmp_path / "a.parquet")
    moved = table.replace_schema_metadata({"height": "9", "width": "9", "t_offset_us": "1000"})
    pq.write_table(moved, tmp_path / "b.parquet")
    assert open_recording(tmp_path / "b.parquet").read().t.tolist() == [1000 - 2**62, 995]
    pq.write_table(moved.replace_schema_metadata({"t_offset_us": str(-(2**62) - 2**62)}), tmp_path / "c.parquet")
    with pytest.raises(RecordingError, match="leaves int64"):
        open_recording(tmp_path / "c.parquet", OpenOptions(height=9, width=9))


def test_slices_are_cuts_of_the_whole_from_any_thread(tmp_path: Path) -> None:
    events = random_events(500_000, 720, 1280, 300_000, start=1_600_000_000_000_000)
    write_parquet(tmp_path / "events.parquet", in_pieces(events, 60_000), 720, 1280)
    recording = open_recording(tmp_path)
    assert (recording.format, recording.path) == ("parquet", tmp_path)
    assert_same(concatenate(list(recording.chunks(70_000))), events)
    starts = [int(events.t[0]) + offset for offset in (-60_000, 0, 5, 78_000, 123_456, 299_000, 300_001)]
    with ThreadPoolExecutor(4) as pool:
        for start, found in zip(
            starts * 4, pool.map(lambda t: recording.events(t, t + 50_000), starts * 4), strict=True
        ):
            assert_same(found, events.between(start, start + 50_000))
    assert recording_info(recording)["sha256_xytp"] == hashlib.sha256(xytp(events)).hexdigest()


def frame(events: Events) -> pd.DataFrame:
    return pd.DataFrame({"t": events.t, "p": events.p.astype(bool), "x": events.x, "y": events.y, "extra": "a"})


@pytest.mark.parametrize("group", [None, 1000])
def test_other_writers_files_open(tmp_path: Path, group: int | None) -> None:
    events = random_events(5000, 260, 346, 100_000, start=1_600_000_000_000_000)
    path = tmp_path / "a.parquet"
    frame(events).to_parquet(path, row_group_size=group)
    assert_same(open_recording(path, SIZE).read(), events)
    other = frame(events).astype({"x": "int32", "y": "float32"})
    other["p"] = np.where(events.p, 1, -1)
    other.to_parquet(path, row_group_size=group)
    assert_same(open_recording(path, SIZE).read(), events)
    other["t"] = (events.t - events.t[0]) / 1e6
    other.to_parquet(path, row_group_size=group)
    np.testing.assert_array_equal(open_recording(path, SIZE).read().t, events.t - events.t[0])
    with pytest.raises(RecordingError, match="does not state the sensor size"):
        open_recording(path)


def test_files_without_statistics_are_measured(tmp_path: Path) -> None:
    events = random_events(5000, 260, 346, 100_000)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pandas(frame(events)), path, row_group_size=700, write_statistics=False)
    options = OpenOptions(height=260, width=346, index_folder=tmp_path / "index")
    for _ in range(2):
        found = open_recording(path, options)
        assert_same(found.events(40_000, 41_000), events.between(40_000, 41_000))
    assert len(list((tmp_path / "index").iterdir())) == 1


def test_huge_row_groups_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUP_ROWS", 1500)
    monkeypatch.setattr(module, "CHUNK_EVENTS", 400)
    events = random_events(5000, 260, 346, 100_000)
    pq.write_table(pa.Table.from_pandas(frame(events)), tmp_path / "a.parquet", row_group_size=2000)
    found = open_parquet(tmp_path / "a.parquet", OpenOptions(height=260, width=346, index_folder=tmp_path))
    assert_same(concatenate(list(found.chunks())), events)
    for t0 in (70_000, 10_000, 90_000, 99_990):
        assert_same(found.events(t0, t0 + 500), events.between(t0, t0 + 500))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1], "y": [1], "p": [1]}, "expected columns x, y, t, p; found x, y, p"),
        ({"x": ["1"], "y": [1], "t": [1], "p": [1]}, "column x has type string"),
        ({"x": [1], "y": [1], "t": [1], "p": [2]}, "values other than"),
        ({"x": [1.5], "y": [1], "t": [1], "p": [0]}, "whole pixels"),
        ({"x": [1], "y": [1], "t": [None], "p": [0]}, "null"),
        ({"x": [1], "y": [1], "t": [float("nan")], "p": [0]}, "not a finite number"),
        ({"x": [1], "y": [1], "t": np.array([2**63 + 1], np.uint64), "p": [0]}, "more than int64"),
        ({"x": [-1], "y": [1], "t": [1], "p": [0]}, "outside the sensor"),
        ({"x": [[1]], "y": [1], "t": [1], "p": [0]}, "no flat column"),
        ({"x": [1, 1], "y": [1, 1], "t": [5, 4], "p": [0, 1]}, "time goes back at event 1"),
    ],
)
def test_wrong_columns_are_named(columns: dict[str, list[object]], message: str, tmp_path: Path) -> None:
    arrays = {name: pa.array(values) for name, values in columns.items()}
    if columns.get("t") == [None]:
        arrays["t"] = pa.array([None], pa.int64())
    pq.write_table(pa.table(arrays), tmp_path / "a.parquet")
    with pytest.raises(RecordingError, match=message):
        open_recording(tmp_path / "a.parquet", SIZE).read()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    events = random_events(3000, 260, 346, 100_000)
    path = tmp_path / "a.parquet"
    write_parquet(path, [events], 260, 346, ParquetLayout(row_group_events=1000))
    file = pq.ParquetFile(path)
    stored = file.metadata.metadata
    with pq.ParquetWriter(tmp_path / "b.parquet", file.schema_arrow) as writer:
        writer.write_table(file.read_row_groups([0, 2]))
        writer.add_key_value_metadata({key: value for key, value in stored.items() if key != b"ARROW:schema"})
    with pytest.raises(RecordingError, match="3000 events stated, its row groups hold 2000"):
        open_recording(tmp_path / "b.parquet")
    pq.write_table(file.read().replace_schema_metadata({"height": "tall", "width": "3"}), tmp_path / "c.parquet")
    with pytest.raises(RecordingError, match="height='tall'"):
        open_recording(tmp_path / "c.parquet")
    with pytest.raises(RecordingError, match="nothing to verify"):
        pq.write_table(file.read().replace_schema_metadata({"height": "260", "width": "346"}), tmp_path / "d.parquet")
        verify(tmp_path / "d.parquet")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    one = Events.from_arrays([1], [1], [10], [1], height=9, width=9)
    before = Events.from_arrays([1], [1], [9], [1], height=9, width=9)
    with pytest.raises(ValueError, match="starts at 9 us"):
        write_parquet(tmp_path / "a", [one, Events.empty(9, 9), before], 9, 9, ParquetLayout(row_group_events=1))
    with pytest.raises(ValueError, match="sensor"):
        write_parquet(tmp_path / "a", [one], 10, 9)
    with pytest.raises(ValueError, match="row_group_events"):
        ParquetLayout(row_group_events=0)
    with pytest.raises(ValueError, match="codec"):
        ParquetLayout(codec="gzip")  # type: ignore[arg-type]


def test_an_empty_recording_keeps_its_sensor(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [], 260, 346)
    recording = open_recording(tmp_path / "a.parquet")
    assert (recording.num_events, recording.height, recording.width) == (0, 260, 346)
    verify(tmp_path / "a.parquet")
    assert detect_format(tmp_path / "a.parquet").name == "parquet"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    write_parquet(path, [random_events(300, 260, 346, 100_000)], 260, 346, ParquetLayout(row_group_events=100))
    return path.read_bytes()


def test_every_truncation_is_refused(small: bytes, tmp_path: Path) -> None:
    for end in [*range(1, len(small), 11), len(small) - 1]:
        assert check_damaged(small[:end], tmp_path, "a.parquet", OpenOptions(), "parquet") is None


@settings(QUICK, max_examples=200)
@given(data=st.data())
def test_damage_is_read_or_refused(data: st.DataObject, small: bytes, tmp_path: Path) -> None:
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    options = OpenOptions(backward="running_maximum", outside="drop", index_folder=tmp_path)
    check_damaged(bytes(damaged), tmp_path, "a.parquet", options, "parquet")


def test_the_stored_hash_tells(small: bytes, tmp_path: Path) -> None:
    file = pq.ParquetFile(pa.BufferReader(small))
    changed = file.read().set_column(3, file.schema_arrow.field("p"), pa.array(np.zeros(300, np.uint8)))
    with pq.ParquetWriter(tmp_path / "a.parquet", file.schema_arrow) as writer:
        writer.write_table(changed)
        writer.add_key_value_metadata(file.metadata.metadata)
    with pytest.raises(RecordingError, match="sha256_xytp"):
        verify(tmp_path / "a.parquet")
