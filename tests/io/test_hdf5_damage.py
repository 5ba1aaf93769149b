"""Damaged HDF5 files: refused or read, never a crash, a hang or an allocation that the file cannot explain."""

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from recording_fuzz import check_damaged

from eventsam.events import Events
from eventsam.io.convert import write_events
from eventsam.io.detect import detect_format, open_recording
from eventsam.io.hdf5_damage import HEAP
from eventsam.io.recording import OpenOptions, RecordingError

SIZE = OpenOptions(height=260, width=346, backward="running_maximum", outside="drop")


def sample(num: int = 60) -> Events:
    rng = np.random.default_rng(num)
    x, y = rng.integers(0, 346, num, np.uint16), rng.integers(0, 260, num, np.uint16)
    return Events(x, y, np.cumsum(rng.integers(0, 3000, num)), rng.integers(0, 2, num, np.uint8), 260, 346)


def rvt(path: Path, unit: str | None = None) -> bytes:
    events = sample()
    with h5py.File(path, "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", data=getattr(events, name), chunks=(16,), compression="gzip")
        file["events/height"], file["events/width"] = 260, 346
        if unit:
            file["events/t"].attrs["unit"] = unit
    return path.read_bytes()


def prophesee(path: Path) -> bytes:
    rows = np.zeros(60, [("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")])
    rows["t"] = np.arange(60)
    with h5py.File(path, "w") as file:
        file.create_dataset("CD/events", data=rows, chunks=(16,), compression="lzf")
        file.attrs["geometry"] = "346x260"
    return path.read_bytes()


def mvsec(path: Path) -> bytes:
    with h5py.File(path, "w") as file:
        file["davis/left/events"] = np.stack([np.zeros(50), np.zeros(50), np.arange(50) / 1e3, np.ones(50)], axis=1)
        file["davis/left/image_raw"], file["davis/left/image_raw_ts"] = np.zeros((2, 26, 34), np.uint8), np.arange(2.0)
        file["davis/left/imu"], file["davis/left/imu_ts"] = np.zeros((2, 6)), np.arange(2.0)
    return path.read_bytes()


def dsec(path: Path) -> bytes:
    write_events(path, [sample()], 260, 346, "dsec")
    return path.read_bytes()


def refuse(path: Path, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        open_recording(path, SIZE).read()


def declared(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...] | None, filled: int) -> Path:
    with h5py.File(path, "w") as file:
        for name in "xytp":
            dataset = file.create_dataset(name, shape, np.int64, chunks=chunks, compression="gzip" if chunks else None)
            if filled:
                dataset[:filled] = np.arange(filled)
    return path


def test_declared_shapes_must_be_stored(tmp_path: Path) -> None:
    refuse(declared(tmp_path / "a.h5", (1 << 50,), (1 << 16,), 10), r"x declares 17179869184 chunks .*, 1 are stored")
    refuse(declared(tmp_path / "b.h5", (1 << 40,), None, 0), r"x declares shape \(1099511627776,\), of which less is")
    refuse(declared(tmp_path / "c.h5", (1 << 25,), (1 << 25,), 0), "x declares chunks of 268435456 bytes in a file of")
    refuse(declared(tmp_path / "d.h5", (), None, 0), "no events found|holds one value")


def test_data_of_other_files_is_not_followed(tmp_path: Path) -> None:
    declared(tmp_path / "a.h5", (50,), None, 50)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for name in "xytp":
            layout = h5py.VirtualLayout((50,), np.int64)
            layout[:] = h5py.VirtualSource(tmp_path / "a.h5", name, (50,))
            file.create_virtual_dataset(name, layout)
    refuse(tmp_path / "b.h5", "x keeps its data in other files")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        for name in "xytp":
            file[name] = h5py.ExternalLink(str(tmp_path / "a.h5"), name)
    refuse(tmp_path / "c.h5", "no events found")


def test_groups_that_hold_themselves_end(tmp_path: Path) -> None:
    data = rvt(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["events/loop"] = file["/"]
        file["dangling"] = h5py.SoftLink("/nowhere")
    refuse(tmp_path / "a.h5", "several event streams.*: events, events/loop/events")
    assert open_recording(tmp_path / "a.h5", OpenOptions(stream="events")).num_events == 60
    assert len(data)


def test_heaps_without_end_are_refused(tmp_path: Path) -> None:
    for make in (prophesee, lambda path: rvt(path, unit="us")):
        data = bytearray(make(tmp_path / "a.h5"))
        entry = data.index(HEAP) + 16
        # The second entry, which holds the rest of the heap, has no length: HDF5 2.0 looks for the third for ever.
        data[entry + 24 : entry + 48] = bytes(24)
        (tmp_path / "b.h5").write_bytes(data)
        refuse(tmp_path / "b.h5", "an entry of 0 bytes in a heap of 4096: it is damaged")


def test_sequences_are_not_read(tmp_path: Path) -> None:
    # A text whose type was damaged into a sequence of variable length made HDF5 2.0 crash.
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xytp":
            file[name] = np.zeros(3, np.int64)
        sequence = np.empty(1, object)
        sequence[0] = np.arange(3)
        file["t"].attrs.create("unit", sequence, (1,), h5py.vlen_dtype(np.int64))
        file.attrs.create("height", sequence, (1,), h5py.vlen_dtype(np.int64))
        file.attrs["width"] = [3, 4]
    assert open_recording(tmp_path / "a.h5", SIZE).num_events == 3
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["p"]
        file.create_dataset("p", (3,), h5py.vlen_dtype(np.int64))
    refuse(tmp_path / "a.h5", "p holds object, expected numbers")


def test_filters_without_their_settings_are_refused(tmp_path: Path) -> None:
    # Blosc's filter reads four settings whether they are there or not.
    with h5py.File(tmp_path / "a.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((100,))
        for name in "xytp":
            file.create_dataset(f"whole/{name}", data=np.arange(100), chunks=(100,), **hdf5plugin.Blosc())
    data = (tmp_path / "a.h5").read_bytes()
    place = data.index(b"blosc\x00\x00\x00")
    # Id, length of the name, flags, number of settings: two bytes each, before the name.
    assert data[place - 8 : place] == b"\x01\x7d\x08\x00\x01\x00\x07\x00"
    (tmp_path / "b.h5").write_bytes(data[: place - 2] + b"\x00\x00" + data[place:])
    refuse(tmp_path / "b.h5", "has HDF5 filter 32001 with 0 settings: it is damaged")


@pytest.mark.parametrize(("at", "value"), [(4, 1 << 31), (12, 1 << 20)])
def test_blosc_chunks_that_lie_are_refused(tmp_path: Path, at: int, value: int) -> None:
    dsec(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        chunk = bytearray(file["events/t"].id.read_direct_chunk((0,))[1])
        chunk[at : at + 4] = value.to_bytes(4, "little")
        file["events/t"].id.write_direct_chunk((0,), bytes(chunk))
    refuse(tmp_path / "a.h5", r"events/t: the chunk of row 0 declares \d+ bytes in \d+, at most \d+ in \d+ can be")


def test_a_file_of_nothing_but_a_signature(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert detect_format(tmp_path / "a.h5").name == "hdf5"
    refuse(tmp_path / "a.h5", r"a.h5: the file cannot be read: Unable to synchronously open file")


@pytest.mark.parametrize("make", [rvt, prophesee, mvsec, dsec])
def test_cut_files_are_refused(tmp_path: Path, make: object) -> None:
    data = make(tmp_path / "a.h5")  # type: ignore[operator]
    cuts = np.unique(np.random.default_rng(1).integers(9, len(data), 60))
    for end in cuts.tolist():
        assert check_damaged(data[:end], tmp_path, options=SIZE) is None


@pytest.mark.parametrize("make", [rvt, prophesee, mvsec, dsec])
def test_damage_reads_or_raises(tmp_path: Path, make: object) -> None:
    data = make(tmp_path / "a.h5")  # type: ignore[operator]
    # The same damage in every run: what the HDF5 library itself cannot stand would end the test run, not fail it.
    rng = np.random.default_rng(2)
    stored = np.flatnonzero(np.frombuffer(data, np.uint8))
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.choice(stored, rng.integers(1, 5)).tolist():
            damaged[place] = int(rng.integers(0, 256))
        check_damaged(bytes(damaged), tmp_path, options=SIZE)
