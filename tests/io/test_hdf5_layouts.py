"""HDF5 recordings of every layout: what is found, in which unit, with which sensor size and streams."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eventsam.events import Events
from eventsam.io.detect import detect_format, open_recording
from eventsam.io.hdf5_damage import ECF
from eventsam.io.hdf5_file import Hdf5File
from eventsam.io.recording import OpenOptions, RecordingError

EPOCH = 1_600_000_000_000_000
SIZE = OpenOptions(height=260, width=346)


def sample(num: int = 1000, seed: int = 0, start: int = 5) -> Events:
    rng = np.random.default_rng(seed)
    t = start + np.cumsum(rng.integers(0, 3000, num))
    x, y = rng.integers(0, 346, num, np.uint16), rng.integers(0, 260, num, np.uint16)
    return Events(x, y, t, rng.integers(0, 2, num, np.uint8), 260, 346)


def table(events: Events, order: str = "xytp", dtype: str = "f8", per_second: bool = True) -> np.ndarray:
    columns = {"x": events.x, "y": events.y, "t": events.t / 1e6 if per_second else events.t, "p": events.p}
    return np.stack([columns[name] for name in order], axis=1).astype(dtype)


def hdf5(path: Path, content: Mapping[str, Any], attributes: Mapping[str, Any] | None = None, **settings: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            file.create_dataset(name, data=value, **(settings if np.ndim(value) else {}))
        for name, value in (attributes or {}).items():
            place, _, attribute = name.rpartition("@")
            (file[place] if place else file).attrs[attribute] = value
    return path


def columns(events: Events, group: str, names: str = "xytp", **changed: Any) -> dict[str, Any]:
    values = {"x": events.x, "y": events.y, "t": events.t, "p": events.p} | changed
    return {f"{group}{name}": values[name[0]] for name in (names if isinstance(names, list) else list(names))}


def same(first: Events, second: Events) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in "xytp")


def check(path: Path, format_name: str, events: Events, options: OpenOptions | None = None) -> None:
    assert detect_format(path).name == format_name
    recording = open_recording(path, options)
    assert (recording.format, recording.num_events) == (format_name, len(events))
    assert (recording.height, recording.width) == (260, 346)
    assert same(recording.read(), events)
    t0, t1 = int(events.t[len(events) // 3]), int(events.t[len(events) // 2])
    assert same(recording.events(t0, t1), events.between(t0, t1))
    assert (recording.t_first_us, recording.t_last_us) == (events.t[0], events.t[-1])


def test_rvt_datasets_state_the_size(tmp_path: Path) -> None:
    events = sample(start=EPOCH)
    content = columns(events, "events/", p=events.p.astype("i2") * 2 - 1)
    path = hdf5(tmp_path / "a.h5", content | {"events/height": 260, "events/width": 346})
    check(path, "hdf5", events)
    with pytest.raises(RecordingError, match="states height 260, width 346 pixels, asked for height 4, width 4"):
        open_recording(path, OpenOptions(height=4, width=4))


@pytest.mark.parametrize("chunks", [None, (7,), (1000,)])
def test_flat_columns_and_aliases(tmp_path: Path, chunks: tuple[int] | None) -> None:
    events = sample()
    content = columns(events, "", names=["xs", "ys", "ts", "ps"], t=events.t / 1e6, p=events.p.astype(bool))
    settings = {"chunks": chunks, "compression": "gzip"} if chunks else {}
    path = hdf5(tmp_path / "a.hdf5", content, **settings)
    check(path, "hdf5", events, SIZE)
    with pytest.raises(RecordingError, match="does not state the sensor size"):
        open_recording(path)
    (tmp_path / "sensor.json").write_text('{"height": 260, "width": 346}')
    check(path, "hdf5", events)


@pytest.mark.parametrize(
    ("name", "attribute", "per_us"),
    [("t_ns", None, 1000), ("t", "ns", 1000), ("t", "us", 1), ("timestamp_us", None, 1)],
)
def test_units_of_time(tmp_path: Path, name: str, attribute: str | None, per_us: int) -> None:
    events = sample()
    content = columns(events, "events/", names=["x", "y", "p"]) | {f"events/{name}": events.t * per_us + per_us // 3}
    found = hdf5(tmp_path / "a.h5", content, {f"events/{name}@unit": attribute} if attribute else {})
    check(found, "hdf5", events, SIZE)


def test_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", columns(sample(), ""), {"t@units": "fortnights"})
    with pytest.raises(RecordingError, match="t has unit 'fortnights', allowed: s, ms, us, ns"):
        open_recording(path, SIZE)


def test_matlab_vectors_count_whole_microseconds(tmp_path: Path) -> None:
    events = sample()
    content = {name: value[None].astype("f8") for name, value in columns(events, "TD/", names=["x", "y", "p"]).items()}
    for t in (events.t.astype("f8"), events.t / 1e6):
        path = tmp_path / "td.mat"
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, value in (content | {"TD/ts": t[None]}).items():
                file[name] = value
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
        check(path, "hdf5", events, SIZE)


def test_streams_are_listed_and_chosen(tmp_path: Path) -> None:
    left, right = sample(seed=1), sample(seed=2)
    content = columns(left, "prophesee/left/") | columns(right, "prophesee/right/")
    resolution = {f"prophesee/{camera}/calib/resolution": np.array([346, 260]) for camera in ("left", "right")}
    path = hdf5(tmp_path / "m3ed.h5", content | resolution)
    with pytest.raises(RecordingError, match=r"several event streams.*: prophesee/left, prophesee/right"):
        open_recording(path)
    check(path, "hdf5", right, OpenOptions(stream="prophesee/right"))
    with pytest.raises(RecordingError, match="unknown stream 'prophesee/lift'; did you mean 'prophesee/left'"):
        open_recording(path, OpenOptions(stream="prophesee/lift"))


def test_v2e_tables(tmp_path: Path) -> None:
    events = sample()
    path = hdf5(tmp_path / "v2e.h5", {"events": table(events, "txyp", "u4", per_second=False)}, chunks=(100, 4))
    check(path, "v2e_hdf5", events, SIZE)
    path = hdf5(tmp_path / "other.h5", {"events": table(events)})
    with pytest.raises(RecordingError, match=r"events is an \(N, 4\) table of float64, expected v2e's integers"):
        open_recording(path, SIZE)
    path = hdf5(tmp_path / "wide.h5", {"events": np.zeros((5, 6), "u4")})
    with pytest.raises(RecordingError, match=r"events has shape \(5, 6\), expected \(events, 4\)"):
        open_recording(path, SIZE)


def mvsec(path: Path, left: Events, right: Events | None = None) -> Path:
    signed = {"left": left} | ({"right": right} if right is not None else {})
    content: dict[str, Any] = {}
    for camera, events in signed.items():
        rows = table(events)
        rows[:, 3] = rows[:, 3] * 2 - 1
        content[f"davis/{camera}/events"] = rows
    images = np.random.default_rng(0).integers(0, 256, (3, 260, 346), np.uint8)
    content["davis/left/image_raw"], content["davis/left/image_raw_ts"] = images, np.array([1.5, 2.5, 3.25]) + 1.6e9
    content["davis/left/imu"], content["davis/left/imu_ts"] = (
        np.arange(12.0).reshape(2, 6),
        np.array([1.6e9, 1.6e9 + 1]),
    )
    return hdf5(path, content, compression="gzip")


def test_mvsec_cameras_frames_and_imu(tmp_path: Path) -> None:
    left, right = sample(start=EPOCH + 123), sample(seed=5, start=EPOCH)
    path = mvsec(tmp_path / "indoor_data.hdf5", left, right)
    check(path, "mvsec", left, OpenOptions(stream="left"))
    check(path, "mvsec", right, OpenOptions(stream="davis/right"))
    for stream in (None, "middle"):
        with pytest.raises(RecordingError, match="left, right"):
            open_recording(path, OpenOptions(stream=stream))
    recording = open_recording(mvsec(tmp_path / "one.hdf5", left))
    frames, imu = recording.frames(), recording.imu()
    assert [frame.t_us for frame in frames] == [EPOCH + 1_500_000, EPOCH + 2_500_000, EPOCH + 3_250_000]
    assert frames[1].image.shape == (1, 260, 346)
    assert imu.t.tolist() == [EPOCH, EPOCH + 1_000_000]
    assert imu.accelerometer[1].tolist() == [6, 7, 8] and imu.gyroscope[0].tolist() == [3, 4, 5]
    assert len(open_recording(path, OpenOptions(stream="right")).frames()) == 0


def prophesee(path: Path, events: Events, attributes: Mapping[str, Any], **settings: Any) -> Path:
    dtype = np.dtype({"names": ["x", "y", "p", "t"], "formats": ["u2", "u2", "i2", "i8"], "itemsize": 16})
    rows = np.zeros(len(events), dtype)
    for name in "xytp":
        rows[name] = getattr(events, name)
    triggers = np.array([(1, 100, 2), (0, 200, 2)], [("p", "i2"), ("t", "i8"), ("id", "i2")])
    hdf5(path, {"CD/events": rows}, attributes, **settings)
    with h5py.File(path, "r+") as file:
        file["EXT_TRIGGER/events"] = triggers
    return path


@pytest.mark.parametrize("attribute", [{"@geometry": "346x260"}, {"@format": "ECF;height=260;width=346"}])
@pytest.mark.parametrize("settings", [{}, {"compression": "gzip", "chunks": (300,)}])
def test_prophesee_without_ecf(tmp_path: Path, attribute: dict[str, str], settings: dict[str, Any]) -> None:
    events = sample()
    path = prophesee(tmp_path / "a.hdf5", events, attribute, **settings)
    check(path, "prophesee_hdf5", events)
    triggers = open_recording(path).triggers()
    assert (triggers.t.tolist(), triggers.source.tolist(), triggers.edge.tolist()) == ([100, 200], [2, 2], [1, 0])


def test_the_ecf_filter_is_named_where_it_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "ecf.hdf5"
    with h5py.File(path, "w") as file:
        dtype = np.dtype([("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")])
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((100,))
        # Optional when writing, so that the file can be made without the filter.
        settings.set_filter(ECF, h5py.h5z.FLAG_OPTIONAL, ())
        group = h5py.h5g.create(file.id, b"CD")
        h5py.h5d.create(
            group, b"events", h5py.h5t.py_create(dtype), h5py.h5s.create_simple((0,), (h5py.h5s.UNLIMITED,)), settings
        )
        file.attrs["geometry"] = "1280x720"
    with pytest.raises(
        RecordingError, match=r"CD/events is compressed by HDF5 filter 36559 \(0x8ECF\).*hdf5_ecf.*HDF5_PLUGIN"
    ):
        open_recording(path)


def test_files_without_events_say_what_they_hold(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", {"images/depth": np.zeros((2, 3)), "x": np.zeros(3, "u2")})
    with pytest.raises(
        RecordingError, match=r"no events found .*x: x or xs.*the file holds images/depth \(2, 3\), x \(3,\)"
    ):
        open_recording(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.zeros(3, "u2")}, "columns of different lengths"),
        ({"x": np.zeros((1000, 2), "u2")}, "x has shape"),
        ({"t": np.array([b"a"] * 1000)}, "t holds .*, expected numbers"),
        ({"p": np.full(1000, 7)}, "events 0 to 999: p holds values other than"),
        ({"t": np.full(1000, np.nan)}, "events 0 to 999: a time is not a finite number"),
        ({"t": np.full(1000, 2**64 - 1, "u8")}, "events 0 to 999: times run from"),
        ({"x": np.full(1000, 0.5)}, "events 0 to 999: coordinates are not whole"),
        ({"x": np.full(1000, -1)}, "outside the sensor"),
        ({"t": np.arange(1000)[::-1]}, "time goes back at event 1"),
    ],
)
def test_faulty_columns_are_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = hdf5(tmp_path / "a.h5", columns(sample(), "", **changed))
    with pytest.raises(RecordingError, match=message):
        open_recording(path, SIZE).read()


def test_policies_mend_rvt_times(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", columns(sample(4), "", t=np.array([5, 3, 9, 8])))
    options = OpenOptions(height=260, width=346, backward="running_maximum")
    assert open_recording(path, options).read().t.tolist() == [5, 5, 9, 9]


def test_empty_recordings_open(tmp_path: Path) -> None:
    empty = Events.empty(260, 346)
    for name, content in {"a": columns(empty, ""), "b": {"davis/left/events": np.zeros((0, 4))}}.items():
        recording = open_recording(hdf5(tmp_path / name, content), SIZE)
        assert (recording.num_events, len(recording.read()), recording.t_first_us) == (0, 0, 0)


def test_an_open_file_cannot_be_pickled(tmp_path: Path) -> None:
    file = Hdf5File(hdf5(tmp_path / "a.h5", {}))
    with pytest.raises(TypeError, match="cannot be pickled; open it where it is read"):
        pickle.dumps(file)
    with pytest.raises(TypeError):
        pickle.dumps(open_recording(hdf5(tmp_path / "b.h5", columns(sample(), "")), SIZE))
