"""numpy files: names, units and orders; archives that lie about their size; nothing is ever unpickled."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_fuzz import check_damaged

from eventsam.events import Events, trusted
from eventsam.io.convert import write_events
from eventsam.io.detect import detect_format, open_recording
from eventsam.io.recording import OpenOptions, RecordingError

EPOCH = 1_600_000_000_000_000
SIZE = OpenOptions(height=260, width=346)
FUZZ = OpenOptions(height=260, width=346, backward="running_maximum", outside="drop")


def sample(num: int = 500, start: int = EPOCH) -> Events:
    rng = np.random.default_rng(num)
    t = start + np.cumsum(rng.integers(0, 3000, num))
    x, y = rng.integers(0, 346, num, np.uint16), rng.integers(0, 260, num, np.uint16)
    return Events(x, y, t, rng.integers(0, 2, num, np.uint8), 260, 346)


def same(first: Events, second: Events) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in "xytp")


def columns(events: Events) -> dict[str, Any]:
    return {"x": events.x, "y": events.y, "t": events.t, "p": events.p}


def check(path: Path, format_name: str, events: Events, options: OpenOptions | None = None) -> None:
    assert detect_format(path).name == format_name
    recording = open_recording(path, options)
    assert (recording.height, recording.width, recording.num_events) == (260, 346, len(events))
    assert same(recording.read(), events)
    t0, t1 = int(events.t[10]), int(events.t[40])
    assert same(recording.events(t0, t1), events.between(t0, t1))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_columns_by_name(tmp_path: Path, save: Any) -> None:
    events = sample()
    path = tmp_path / "a.npz"
    save(path, **columns(events), height=260, width=346)
    check(path, "npz", events)
    with pytest.raises(RecordingError, match="states height 260"):
        open_recording(path, OpenOptions(height=5, width=5))
    save(
        path,
        xs=events.x[None],
        ys=events.y.astype("i8"),
        timestamp=events.t / 1e6,
        pol=events.p * 2.0 - 1,
        W=346,
        H=260,
    )
    check(path, "npz", events)
    save(path, x=events.x, y=events.y, t_ns=events.t * 1000 + 499, p=events.p.astype(bool))
    check(path, "npz", events, SIZE)
    with pytest.raises(RecordingError, match="does not state the sensor size"):
        open_recording(path)
    (tmp_path / "sensor.json").write_text('{"height": 260, "width": 346}')
    check(path, "npz", events)


def test_structured_arrays(tmp_path: Path) -> None:
    events = sample()
    rows = np.zeros(len(events), [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "i1")])
    for name in "xytp":
        rows[name] = getattr(events, name)
    np.save(tmp_path / "a.npy", rows)
    check(tmp_path / "a.npy", "npy", events, SIZE)
    np.savez_compressed(tmp_path / "a.npz", events=rows, height=260, width=346)
    check(tmp_path / "a.npz", "npz", events)


@pytest.mark.parametrize("order", ["xytp", "txyp"])
@pytest.mark.parametrize("dtype", ["i8", "f8"])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_plain_tables(tmp_path: Path, order: str, dtype: str, layout: Any) -> None:
    # Small times: whole numbers that could be pixels, told apart by being in order.
    for start in (EPOCH, 0):
        events = sample(start=start)
        events = trusted(events.x, events.y, events.t // (1 if start else 300), events.p, 260, 346)
        values = columns(events) | {"t": events.t / 1e6 if dtype == "f8" else events.t}
        table = np.stack([values[name] for name in order], axis=1).astype(dtype)
        np.save(tmp_path / "a.npy", np.asarray(table, order=layout))
        check(tmp_path / "a.npy", "npy", events, SIZE)


def test_tables_of_unclear_order_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 5, 3, 0], [2, 4, 4, 1], [3, 1, 5, 1]]))
    with pytest.raises(RecordingError, match="may be x, y, t, p or t, x, y, p: store them with names"):
        open_recording(tmp_path / "a.npy", SIZE)
    np.save(tmp_path / "a.npy", np.array([[0.5, 5.5, 3.5, 0]]))
    with pytest.raises(RecordingError, match="may be neither"):
        open_recording(tmp_path / "a.npy", SIZE)
    np.save(tmp_path / "a.npy", np.zeros((3, 5)))
    with pytest.raises(RecordingError, match=r"an array of shape \(3, 5\), expected \(events, 4\)"):
        open_recording(tmp_path / "a.npy", SIZE)
    np.savez(tmp_path / "b.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(RecordingError, match=r"expected arrays x, y, t, p, or one structured or .*; found a, b"):
        open_recording(tmp_path / "b.npz", SIZE)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"run": "this"}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", allow_pickle=True, **columns(sample()) | {"p": np.array([print] * 500, dtype=object)})
    for name in ("a.npy", "a.npz"):
        with pytest.raises(RecordingError, match="pickled Python objects, which are never loaded"):
            open_recording(tmp_path / name, SIZE)


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000, 4)}"), "declares 32000000000000 bytes"),
        (npy("{'descr': '<i8', 'fortran_order': False, 'shape': (4, 4)}", bytes(100)), "truncated at byte"),
        (npy("{'descr': '<i8', 'fortran_order': False, 'shape': (-1, 4)}"), "declares shape"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), "pickled"),
        (npy("{'descr': '|V0', 'fortran_order': False, 'shape': (9999999999,)}"), "holds nothing"),
        (npy("__import__('os').abort()"), "cannot be read"),
        (npy("(" * 300), "cannot be read"),
        (npy("{}"), "cannot be read"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "declares a header of 4294967295 bytes"),
        (b"\x93NUMPY\x09\x00\x00\x00", "version 1 to 3"),
        (b"\x93NUMPY\x01\x00\x50\x00{", "ends after 1 of 80 bytes"),
    ],
)
def test_npy_headers_that_lie(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(RecordingError, match=message):
        open_recording(tmp_path / "a.npy", SIZE)


def test_archives_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    # 400 MB of zeros in 400 kB.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (100000000,)}")
        for name in "xytp":
            with archive.open(f"{name}.npy", "w") as member:
                member.write(header)
                for _ in range(100):
                    member.write(bytes(1_000_000))
    with pytest.raises(RecordingError, match=r"array 'x' would unpack the archive to 100000000 bytes, allowed: \d+"):
        open_recording(path, SIZE)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (100000000,)}"))
        for name in "ytp":
            archive.writestr(f"{name}.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}", b"0"))
    with pytest.raises(RecordingError, match="array 'x' declares 100000000 bytes"):
        open_recording(path, SIZE)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name in "xytp":
            archive.writestr(f"{name}.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}", b"0"))
    with pytest.raises(RecordingError, match="compressed by method 14, expected deflate"):
        open_recording(path, SIZE)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.zeros(3, "u2")}, "columns of different lengths"),
        ({"x": np.zeros((500, 2), "u2")}, r"x has shape \(500, 2\)"),
        ({"t": np.array(["a"] * 500)}, "t holds <U1, expected numbers"),
        ({"p": np.full(500, 7)}, "p holds values other than"),
        ({"t": np.full(500, np.inf)}, "not a finite number"),
        ({"height": np.array([1, 2])}, "height is .*expected one whole number"),
        ({"width": np.array(0)}, "allowed: 1 to"),
    ],
)
def test_faulty_columns_are_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **columns(sample()) | {"height": 260, "width": 346} | changed)
    with pytest.raises(RecordingError, match=message):
        open_recording(tmp_path / "a.npz").read()


T = st.integers(min_value=-(2**62), max_value=2**62)


@given(st.lists(st.tuples(st.integers(0, 65533), st.integers(0, 65533), T, st.integers(0, 1)), max_size=20))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, given_rows: list[tuple[int, ...]]) -> None:
    found = sorted(given_rows, key=lambda row: row[2])
    x, y, t, p = (np.array([row[i] for row in found], dtype) for i, dtype in enumerate(("u2", "u2", "i8", "u1")))
    events = trusted(x, y, t, p, 65534, 65534)
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    half = len(found) // 2
    write_events(path, [events.slice(0, half), events.slice(half, len(found))], 65534, 65534)
    assert same(open_recording(path).read(), events)
    with np.load(path) as stored:
        assert sorted(stored.files) == ["height", "p", "t", "width", "x", "y"]
        assert np.array_equal(stored["t"], t) and stored["t"].dtype == np.int64 and int(stored["width"]) == 65534


def small(save: Any) -> bytes:
    target = io.BytesIO()
    events = sample(12)
    save(target, **columns(events), height=260, width=346)
    return target.getvalue()


def test_every_cut_reads_or_raises(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        data = small(save)
        for end in range(1, len(data), 3):
            assert check_damaged(data[:end], tmp_path, options=FUZZ) is None
    target = io.BytesIO()
    np.save(target, np.arange(40).reshape(10, 4))
    for end in range(1, len(target.getvalue())):
        assert check_damaged(target.getvalue()[:end], tmp_path, options=FUZZ) is None


@given(
    st.booleans(), st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)
)
@settings(max_examples=200, deadline=None)
def test_damage_reads_or_raises(
    tmp_path_factory: pytest.TempPathFactory, compressed: bool, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(small(np.savez_compressed if compressed else np.savez))
    for place, value in changes:
        place %= len(data)
        data[place : place + len(value)] = value
    check_damaged(bytes(data), tmp_path_factory.getbasetemp(), "fuzz.npz", options=FUZZ, format_name="npz")
