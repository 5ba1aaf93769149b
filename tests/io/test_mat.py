"""MATLAB files: structs and plain variables as scipy (and so MATLAB) writes them, our own, and damaged ones."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_fuzz import check_damaged

from eventsam.events import Events, trusted
from eventsam.io.convert import write_events
from eventsam.io.detect import detect_format, open_recording
from eventsam.io.recording import OpenOptions, RecordingError

SIZE = OpenOptions(height=34, width=34)
FUZZ = OpenOptions(height=34, width=34, backward="running_maximum", outside="drop")


def sample(num: int = 300, start: int = 5) -> Events:
    rng = np.random.default_rng(num)
    t = start + np.cumsum(rng.integers(0, 900, num))
    x, y = rng.integers(0, 34, num, np.uint16), rng.integers(0, 34, num, np.uint16)
    return Events(x, y, t, rng.integers(0, 2, num, np.uint8), 34, 34)


def same(first: Events, second: Events) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in "xytp")


def struct_of(events: Events, dtype: str = "f8") -> dict[str, Any]:
    # As N-MNIST has it: all numbers are doubles, polarity is 1 or -1, times are microseconds.
    columns = {"x": events.x, "y": events.y, "p": events.p.astype("i4") * 2 - 1, "ts": events.t}
    return {name: value.astype(dtype)[:, None] for name, value in columns.items()}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "i4", "i8"])
def test_structs(tmp_path: Path, compressed: bool, dtype: str) -> None:
    events = sample()
    path = tmp_path / "a.mat"
    content = {"TD": struct_of(events, dtype), "label": 7.0, "name": "digit", "cells": np.array([1, "a"], dtype=object)}
    scipy.io.savemat(path, content, do_compression=compressed)
    assert detect_format(path).name == "mat"
    recording = open_recording(path, SIZE)
    assert (recording.format, recording.num_events) == ("mat", 300)
    assert same(recording.read(), events)
    t0 = int(events.t[100])
    assert same(recording.events(t0, t0 + 5000), events.between(t0, t0 + 5000))
    with pytest.raises(RecordingError, match="does not state the sensor size"):
        open_recording(path)


def test_variables_in_seconds_with_their_size(tmp_path: Path) -> None:
    events = sample()
    content = {"x": events.x, "y": events.y, "t": events.t / 1e6, "pol": events.p == 1, "height": 34, "width": 34.0}
    scipy.io.savemat(tmp_path / "a.mat", content)
    assert same(open_recording(tmp_path / "a.mat").read(), events)


def test_streams_are_listed(tmp_path: Path) -> None:
    left, right = sample(20), sample(30)
    scipy.io.savemat(tmp_path / "a.mat", {"left": struct_of(left), "right": struct_of(right)})
    with pytest.raises(RecordingError, match=r"several event streams.*: left, right"):
        open_recording(tmp_path / "a.mat", SIZE)
    options = OpenOptions(height=34, width=34, stream="right")
    assert same(open_recording(tmp_path / "a.mat", options).read(), right)


def test_big_endian_files(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def variable(name: str, values: list[int]) -> bytes:
        dims = struct.pack(">ii", len(values), 1)
        head = element(6, struct.pack(">II", 6, 0)) + element(5, dims) + element(1, name.encode())
        return element(14, head + element(3, struct.pack(f">{len(values)}h", *values)))

    names = {"x": [1, 2], "y": [3, 4], "t": [5, 600], "p": [0, 1]}
    body = b"".join(variable(name, values) for name, values in names.items())
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + body)
    events = open_recording(tmp_path / "a.mat", SIZE).read()
    assert (events.x.tolist(), events.y.tolist(), events.t.tolist(), events.p.tolist()) == tuple(names.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1.0}, "no events found .*; the file holds a"),
        ({"x": [1, 2], "y": [1, 2], "t": [1, 2, 3], "p": [0, 1]}, "columns of different lengths"),
        ({"x": np.ones((2, 2)), "y": [1, 2], "t": [1, 2], "p": [0, 1]}, r"x has shape \(2, 2\)"),
        ({"x": [1, 2], "y": [1, 2], "t": [1, 2], "p": [0, 5]}, "events 0 to 1: p holds values other than"),
        ({"x": [1, 2], "y": [1, 2], "t": [1, np.nan], "p": [0, 1]}, "not a finite number"),
        ({"x": [1, 2.5], "y": [1, 2], "t": [1, 2], "p": [0, 1]}, "not whole pixels"),
        ({"x": [1], "y": [1], "t": [1], "p": [0], "height": 3, "width": [1, 2]}, "width has shape .*one whole number"),
    ],
)
def test_faulty_contents_are_named(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    scipy.io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(RecordingError, match=message):
        open_recording(tmp_path / "a.mat", SIZE).read()


def test_declared_sizes_are_checked(tmp_path: Path) -> None:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    packed = zlib.compress(struct.pack("<II", 14, 1 << 31) + bytes(1 << 24))
    cases = {
        struct.pack("<II", 14, 1 << 31): "byte 128: truncated: an element declares 2147483648 bytes, 0 are there",
        b"\x01\x02\x03": "byte 128: truncated: an element's tag is cut off",
        struct.pack("<II", 15, len(packed)) + packed: "unpacks to 2147483648 bytes, more than allowed",
        struct.pack("<II", 15, 4) + b"junk": "a compressed variable cannot be unpacked",
        struct.pack("<II", 14, 8) + struct.pack("<II", 6, 0): "tag is cut off",
    }
    for body, message in cases.items():
        (tmp_path / "a.mat").write_bytes(head + body)
        with pytest.raises(RecordingError, match=message):
            open_recording(tmp_path / "a.mat", SIZE)


T = st.integers(min_value=-(2**62), max_value=2**62)


@given(st.lists(st.tuples(st.integers(0, 65533), st.integers(0, 65533), T, st.integers(0, 1)), max_size=20))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, given_rows: list[tuple[int, ...]]) -> None:
    found = sorted(given_rows, key=lambda row: row[2])
    x, y, t, p = (np.array([row[i] for row in found], dtype) for i, dtype in enumerate(("u2", "u2", "i8", "u1")))
    events = trusted(x, y, t, p, 65534, 65534)
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    half = len(found) // 2
    write_events(path, [events.slice(0, half), events.slice(half, len(found))], 65534, 65534)
    assert same(open_recording(path).read(), events)
    loaded = scipy.io.loadmat(path)
    assert np.array_equal(loaded["t"].ravel(), t) and loaded["x"].dtype == np.uint16
    assert (loaded["height"].item(), loaded["width"].item()) == (65534, 65534)


def small(compressed: bool) -> bytes:
    target = io.BytesIO()
    scipy.io.savemat(target, {"TD": struct_of(sample(5)), "height": 34, "width": 34}, do_compression=compressed)
    return target.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_every_cut_reads_or_raises(tmp_path: Path, compressed: bool) -> None:
    data = small(compressed)
    for end in range(1, len(data)):
        check_damaged(data[:end], tmp_path, options=FUZZ, format_name="mat")


@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(120, 3000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_damage_reads_or_raises(
    tmp_path_factory: pytest.TempPathFactory, compressed: bool, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(small(compressed))
    for place, value in changes:
        place %= len(data)
        data[place : place + len(value)] = value
    check_damaged(bytes(data), tmp_path_factory.getbasetemp(), "fuzz.mat", options=FUZZ, format_name="mat")
