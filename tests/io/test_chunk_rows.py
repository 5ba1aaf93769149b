"""Packed chunk rows: exact for any time, streamable as tables, and safe against damage."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_events import any_events, assert_same, in_pieces, random_events
from recording_fuzz import check_damaged

from eventsam.events import Events, concatenate
from eventsam.io.chunk_rows import open_chunk_rows, verify, write_chunk_rows
from eventsam.io.chunk_table import MAX_ROW_EVENTS, MAX_ROW_US, pack_rows, unpack_blob, unpack_rows
from eventsam.io.detect import open_recording
from eventsam.io.info import recording_info, xytp
from eventsam.io.recording import OpenOptions, RecordingError

QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EDGES = [0, 1, 510, 511, 512, 511 + (1 << 22) - 1, 511 + (1 << 22), 2 * (511 + (1 << 22)) - 1, 3_500_000_000]


def events_at(t: list[int], height: int = 260, width: int = 346) -> Events:
    return Events.from_arrays([5] * len(t), [7] * len(t), t, [1] * len(t), height=height, width=width)


def test_words_are_laid_out_as_stated() -> None:
    events = Events.from_arrays([3, 2047], [1, 2046], [10_004, 10_010], [1, 0], height=2048, width=2048)
    rows = pack_rows(events)
    blob = rows.column("ev")[0].as_py()
    assert blob == (4 << 23 | 1 << 22 | 1 << 11 | 3).to_bytes(4, "little") + (
        6 << 23 | 0 << 22 | 2046 << 11 | 2047
    ).to_bytes(4, "little")
    assert [rows.column(name)[0].as_py() for name in ("t0", "t1", "n")] == [10_000, 20_000, 2]
    assert rows.schema.field("ev").type == pa.large_binary()


@pytest.mark.parametrize("gap", EDGES)
def test_a_long_step_takes_as_many_escapes_as_it_needs(gap: int) -> None:
    row_us = MAX_ROW_US
    events = events_at([0, gap, gap])
    rows = pack_rows(events, row_us)
    assert rows.num_rows == 1
    assert_same(unpack_rows(rows), events)
    longest = 511 + (1 << 22) - 1
    escapes = 0
    while gap >= 511:
        gap -= min(gap, longest)
        escapes += 1
    assert len(rows.column("ev")[0].as_py()) == 4 * (3 + escapes)


@QUICK
@given(events=any_events(), row_us=st.sampled_from([1, 700, 10_000, 3_000_000, MAX_ROW_US]))
def test_tables_return_every_event(events: Events, row_us: int) -> None:
    rows = pack_rows(events, row_us)
    assert_same(unpack_rows(rows), events)
    starts = rows.column("t0").to_numpy()
    assert (np.diff(starts) >= row_us).all() and (starts % row_us == 0).all()
    for row in range(rows.num_rows):
        t0, t1, n, blob = (rows.column(name)[row].as_py() for name in ("t0", "t1", "n", "ev"))
        assert_same(unpack_blob(t0, blob, events.height, events.width), events.between(t0, t1))
        assert n == len(events.between(t0, t1)) > 0
    whole = pa.Table.from_batches([rows.slice(0, 3), rows.slice(3)])
    assert_same(unpack_rows(whole), events)
    assert_same(unpack_rows(whole.replace_schema_metadata(), events.height, events.width), events)


@settings(QUICK, max_examples=50)
@given(events=any_events(), size=st.integers(1, 70), row_us=st.sampled_from([100, 10_000, MAX_ROW_US]))
def test_files_return_every_event(events: Events, size: int, row_us: int, tmp_path: Path) -> None:
    path = tmp_path / "a.chunks"
    write_chunk_rows(path, in_pieces(events, size), events.height, events.width, row_us)
    recording = open_recording(path)
    assert recording.format == "chunk_rows"
    assert_same(recording.read(), events)
    if len(events):
        assert (recording.t_first_us, recording.t_last_us) == (events.t[0], events.t[-1])
        assert open_recording(path, OpenOptions(backward="sort")).t_last_us == events.t[-1]
        middle = int(events.t[len(events) // 2])
        assert_same(recording.events(middle - 1000, middle + 20_000), events.between(middle - 1000, middle + 20_000))
    verify(path)


def test_slices_are_cuts_of_the_whole(tmp_path: Path) -> None:
    events = random_events(600_000, 720, 1280, 300_000)
    path = tmp_path / "a.chunks"
    write_chunk_rows(path, in_pieces(events, 50_001), 720, 1280)
    recording = open_chunk_rows(path, OpenOptions())
    assert_same(concatenate(list(recording.chunks(70_000))), events)
    for t0 in (0, 5, 9_999, 10_000, 123_456, 299_000):
        assert_same(recording.events(t0, t0 + 50_000), events.between(t0, t0 + 50_000))
    assert recording_info(recording)["sha256_xytp"] == hashlib.sha256(xytp(events)).hexdigest()
    groups = pq.ParquetFile(path).metadata
    assert groups.num_row_groups == 6 and groups.row_group(0).num_rows == 5


def test_quiet_recordings_do_not_end_a_row_group_every_few_events(tmp_path: Path) -> None:
    events = random_events(4000, 260, 346, 60_000_000)
    write_chunk_rows(tmp_path / "a.chunks", [events], 260, 346)
    assert pq.ParquetFile(tmp_path / "a.chunks").metadata.num_row_groups == 3
    assert_same(open_recording(tmp_path / "a.chunks").read(), events)


def test_a_crowded_row_comes_in_pieces(tmp_path: Path) -> None:
    count = MAX_ROW_EVENTS + 1000
    t = np.concatenate([np.full(count, 20_000), np.full(count, 20_001), [25_000, 31_000]])
    events = Events.from_arrays(np.arange(len(t)) % 346, np.zeros(len(t), int), t, t % 2, height=260, width=346)
    path = tmp_path / "a.chunks"
    write_chunk_rows(path, in_pieces(events, 300_000), 260, 346)
    assert_same(open_recording(path).read(), events)
    assert max(pq.read_table(path, columns=["n"])["n"].to_pylist()) <= MAX_ROW_EVENTS
    assert_same(unpack_rows(pack_rows(events)), events)


def test_rows_without_events_and_other_columns_are_read() -> None:
    rows = pa.Table.from_batches([pack_rows(events_at([15_000]))])
    empty = pa.table({"t0": [0], "t1": [10_000], "n": [0], "ev": pa.array([b""], pa.large_binary())})
    both = pa.concat_tables([empty, rows], promote_options="default").append_column("label", pa.array(["a", "b"]))
    assert_same(unpack_rows(both, 260, 346), events_at([15_000]))
    small = both.set_column(3, "ev", both["ev"].cast(pa.binary()))
    assert_same(unpack_rows(small, 260, 346), events_at([15_000]))


def test_shuffled_rows_are_refused_or_sorted(tmp_path: Path) -> None:
    events = random_events(400_000, 260, 346, 200_000)
    rows = pack_rows(events)
    pq.write_table(pa.Table.from_batches([rows.slice(10), rows.slice(0, 10)]), tmp_path / "a.chunks", row_group_size=5)
    with pytest.raises(RecordingError, match="time goes back"):
        open_recording(tmp_path / "a.chunks", OpenOptions(index_folder=tmp_path)).read()
    found = open_recording(tmp_path / "a.chunks", OpenOptions(index_folder=tmp_path, backward="sort"))
    np.testing.assert_array_equal(found.read().t, events.t)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2048"):
        pack_rows(Events.empty(720, 2049))
    with pytest.raises(ValueError, match="row_us"):
        pack_rows(events_at([0]), 0)
    with pytest.raises(ValueError, match="int64"):
        pack_rows(events_at([2**63 - 10]))
    with pytest.raises(ValueError, match="part 1"):
        write_chunk_rows(tmp_path / "a", [events_at([50]), events_at([49])], 260, 346)
    with pytest.raises(ValueError, match="sensor size"):
        unpack_rows(pack_rows(events_at([0])).replace_schema_metadata({}))
    with pytest.raises(ValueError, match="need columns"):
        unpack_rows(pa.table({"t0": [1]}), 1, 1)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("n", pa.array([3]), "more events"),
        ("n", pa.array([-1]), "more events"),
        ("n", pa.array([1]), "does not hold 1"),
        ("t1", pa.array([4]), "before 4"),
        ("n", pa.array([None], pa.int64()), "null"),
        ("ev", pa.array([b"123"], pa.large_binary()), "more events|whole"),
        ("ev", pa.array([None], pa.large_binary()), "null"),
    ],
)
def test_damaged_rows_are_named(column: str, value: pa.Array, message: str) -> None:
    rows = pa.Table.from_batches([pack_rows(events_at([3, 5]))])
    number = rows.schema.names.index(column)
    with pytest.raises(ValueError, match=message):
        unpack_rows(rows.set_column(number, column, value))


def test_times_past_int64_are_refused() -> None:
    blob = (510 << 23).to_bytes(4, "little") * 4
    with pytest.raises(ValueError, match="leaves the range"):
        unpack_blob(2**63 - 1000, blob, 10, 10)
    with pytest.raises(ValueError, match="whole words"):
        unpack_blob(0, blob[:-1], 10, 10)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("chunks") / "a.chunks"
    write_chunk_rows(path, [random_events(200, 260, 346, 100_000)], 260, 346)
    return path.read_bytes()


def test_every_truncation_is_refused(small: bytes, tmp_path: Path) -> None:
    options = OpenOptions(index_folder=tmp_path)
    for end in [*range(1, len(small), 7), len(small) - 1]:
        assert check_damaged(small[:end], tmp_path, "a.chunks", options, "chunk_rows") is None


@settings(QUICK, max_examples=200)
@given(data=st.data())
def test_damage_is_read_or_refused(data: st.DataObject, small: bytes, tmp_path: Path) -> None:
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    for backward in ("refuse", "sort"):
        options = OpenOptions(backward=backward, outside="drop", index_folder=tmp_path)
        check_damaged(bytes(damaged), tmp_path, "a.chunks", options, "chunk_rows")


def test_the_stored_hash_tells(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.chunks"
    place = small.index(pq.ParquetFile(pa.BufferReader(small)).read()["ev"][0].as_py())
    path.write_bytes(small[:place] + bytes([small[place] ^ 1]) + small[place + 1 :])
    with pytest.raises(RecordingError, match="sha256_xytp"):
        verify(path)
