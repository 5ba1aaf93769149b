"""ROS bags of both generations against bags written by the `rosbags` package itself."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_bags import ROS1, MadeBag, libcaer_words, mono_words
from made_events import any_events, assert_same, in_pieces, random_events
from recording_fuzz import check_damaged

import eventsam.io.rosbag_file as rosbag_file
import eventsam.io.rosbag_source as rosbag_source
from eventsam.events import Events, concatenate
from eventsam.io.detect import detect_format, open_recording
from eventsam.io.evt3_encode import Evt3Encoder
from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.rosbag import write_rosbag1
from eventsam.io.rosbag_events import EventMessages
from eventsam.io.rosbag_fields import FieldReader, to_us
from eventsam.io.rosbag_write import TEXT, TYPE, _checksum

KINDS = ("ros1", "sqlite3", "mcap")
EVENTS = random_events(3000, 260, 346, 2_000_000, start=1_600_000_000_000_000)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def made(folder: Path, kind: str, compression: str | None = None) -> Path:
    """Write arrays on two topics, packets, frames and inertial samples."""
    path = folder / ("a.bag" if kind == ROS1 else "bag")
    with MadeBag(path, kind, compression) as bag:
        for number, part in enumerate(in_pieces(EVENTS, 100)):
            log = int(part.t[-1]) * 1000
            bag.array("/cam0/events", log, part)
            bag.array("/cam1/events", log, part.flip_horizontal(), package="prophesee_event_msgs")
            bag.imu("/cam0/imu", log, (number, 0.5, -9.81), (0.1, 0.2, 0.3))
            if number % 10 == 0:
                image = np.full((4, 5, 3), (1, 2, number), np.uint8)
                bag.image("/cam0/image_raw", log + 1600, "bgr8", image, 16)
                bag.image("/cam1/image_raw", log, "mono8", image[..., 2], 5)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_events_frames_and_imu_are_read(kind: str, tmp_path: Path) -> None:
    path = made(tmp_path, kind)
    options = OpenOptions(stream="/cam0/events", index_folder=tmp_path / "index")
    recording = open_recording(path, options)
    assert recording.format == ("rosbag1" if kind == ROS1 else "rosbag2")
    assert_same(recording.read(), EVENTS)
    other = open_recording(path, OpenOptions(stream="/cam1/events", index_folder=tmp_path))
    assert_same(other.read(), EVENTS.flip_horizontal())
    frames = list(recording.frames())
    assert len(frames) == 3 and frames[1].image.shape == (3, 4, 5)
    assert frames[1].image[:, 0, 0].tolist() == [10, 2, 1]
    assert frames[1].t_us == EVENTS.t[1099] + 2
    assert other.frames()[2].image.shape == (1, 4, 5) and (other.frames()[2].image == 20).all()
    imu = recording.imu()
    assert len(imu) == 30 and imu.t[3] == EVENTS.t[399]
    np.testing.assert_array_equal(imu.accelerometer[3], np.array([3, 0.5, -9.81], np.float32))
    np.testing.assert_array_equal(imu.gyroscope[0], np.array([0.1, 0.2, 0.3], np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_slices_are_cuts_of_the_whole_from_any_thread(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosbag_source, "RUN_EVENTS", 250)
    path = made(tmp_path, kind)
    for _ in range(2):
        recording = open_recording(path, OpenOptions(stream="/cam0/events", index_folder=tmp_path / "index"))
        assert_same(concatenate(list(recording.chunks(170))), EVENTS)
    assert len(list((tmp_path / "index").iterdir())) == 1
    starts = [int(EVENTS.t[0]) + offset for offset in (1_500_000, 0, -5, 700_000, 1_990_000, 3_000_000)]
    with ThreadPoolExecutor(3) as pool:
        cuts = pool.map(lambda t: recording.events(t, t + 90_000), starts * 2)
        for start, found in zip(starts * 2, cuts, strict=True):
            assert_same(found, EVENTS.between(start, start + 90_000))


@pytest.mark.parametrize("compression", ["lz4", "bz2"])
def test_compressed_chunks(compression: str, tmp_path: Path) -> None:
    path = made(tmp_path, ROS1, compression)
    assert_same(open_recording(path, OpenOptions(stream="/cam0/events", index_folder=tmp_path)).read(), EVENTS)


@pytest.mark.parametrize("kind", ["sqlite3", "mcap"])
def test_one_storage_file_opens_without_its_folder(kind: str, tmp_path: Path) -> None:
    (file,) = (path for path in made(tmp_path, kind).iterdir() if path.name != "metadata.yaml")
    renamed = file.rename(tmp_path / "recording.data")
    assert detect_format(renamed).name == "rosbag2"
    assert_same(open_recording(renamed, OpenOptions(stream="/cam0/events", index_folder=tmp_path)).read(), EVENTS)


def test_the_topic_must_be_chosen(tmp_path: Path) -> None:
    path = made(tmp_path, "mcap")
    for options in (OpenOptions(), OpenOptions(stream="/cam0/image_raw"), OpenOptions(stream="/cam2/events")):
        with pytest.raises(RecordingError, match=r"stream.*found [02]; topics: /cam0/events \(dvs_msgs/.*, 30 "):
            open_recording(path, options)


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_and_shuffled_log_times(kind: str, equal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosbag_source, "RUN_EVENTS", 250)
    path = tmp_path / "a.bag"
    logs = np.random.default_rng(0).permutation(30) * 0 + 5 if equal else np.random.default_rng(0).permutation(30)
    with MadeBag(path, kind) as bag:
        for log, part in zip(logs, in_pieces(EVENTS, 100), strict=True):
            bag.array("/events", int(log) + 1, part)
    recording = open_recording(path, OpenOptions(backward="sort", index_folder=tmp_path))
    assert_same(concatenate(list(recording.chunks())), EVENTS)
    t0 = int(EVENTS.t[700])
    assert_same(recording.events(t0, t0 + 300_000), EVENTS.between(t0, t0 + 300_000))


@pytest.mark.parametrize("kind", KINDS)
def test_packets_of_every_encoding(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosbag_source, "RUN_EVENTS", 250)
    path = tmp_path / "a.bag"
    early = Events.from_arrays(EVENTS.x, EVENTS.y, EVENTS.t - EVENTS.t[0] + 16_000_000, EVENTS.p, height=260, width=346)
    evt3 = Evt3Encoder()(early.x, early.y, early.t, early.p).astype("<u2").tobytes()
    with MadeBag(path, kind) as bag:
        for number, part in enumerate(in_pieces(EVENTS, 100)):
            log, base = 1000 + number, int(part.t[0]) * 1000
            bag.packet("/mono", log, (260, 346), "mono", mono_words(part, base), base)
            start = int(part.t[0]) - (2**31 - 100_000)
            bag.packet("/libcaer", log, (260, 346), "libcaer", libcaer_words(part, start), start * 1000)
            size = -(-len(evt3) // 30 // 2) * 2
            bag.packet("/evt3", log, (260, 346), "evt3", evt3[number * size : (number + 1) * size])
    for topic, expected in (("/mono", EVENTS), ("/libcaer", EVENTS), ("/evt3", early)):
        recording = open_recording(path, OpenOptions(stream=topic, index_folder=tmp_path))
        assert_same(recording.read(), expected)
        assert_same(concatenate(list(recording.chunks())), expected)
        t0 = int(expected.t[1700])
        assert_same(recording.events(t0, t0 + 200_000), expected.between(t0, t0 + 200_000))


@pytest.mark.parametrize(
    ("ns", "us"),
    [(0, 0), (499, 0), (500, 0), (501, 1), (1499, 1), (1500, 2), (2500, 2), (3500, 4), (-500, 0), (-1500, -2)],
)
def test_nanoseconds_are_rounded_halves_to_even(ns: int, us: int, tmp_path: Path) -> None:
    assert to_us(ns) == us
    if ns < 0:
        return
    for kind in KINDS:
        path = tmp_path / kind
        one = Events.from_arrays([1], [2], [1_600_000_000_000_000], [1], height=9, width=9)
        base = 1_600_000_000_000_000_000 - 3
        with MadeBag(path, kind) as bag:
            bag.array("/array", 5, one, extra_ns=ns)
            bag.packet("/packet", 5, (9, 9), "mono", mono_words(one, base, ns), base)
        for topic in ("/array", "/packet"):
            found = open_recording(path, OpenOptions(stream=topic, index_folder=tmp_path)).read()
            assert found.t.tolist() == [1_600_000_000_000_000 + us]


@pytest.mark.parametrize(
    ("encoding", "data", "big", "message"),
    [
        ("libcaer_cmp", b"", False, "'libcaer_cmp', can be read: mono, evt3, libcaer"),
        ("trigger", b"", False, "'trigger'"),
        ("mono", b"12345678", True, "big-endian"),
        ("mono", b"1234567", False, "7 bytes"),
        ("evt3", b"1", False, "1 bytes"),
        ("libcaer", b"\0\0\0\0\0\0\0\xff", False, "negative time"),
    ],
)
def test_packets_that_cannot_be_read_are_named(
    encoding: str, data: bytes, big: bool, message: str, tmp_path: Path
) -> None:
    with MadeBag(tmp_path / "a.bag", "ros1") as bag:
        bag.packet("/events", 77, (9, 9), encoding, data, 0, big)
    with pytest.raises(RecordingError, match=f"(?s)/events: message logged at 77 ns.*{message}"):
        open_recording(tmp_path / "a.bag", OpenOptions(index_folder=tmp_path))


def test_sensor_sizes_must_agree(tmp_path: Path) -> None:
    one = Events.from_arrays([1], [2], [5], [1], height=9, width=9)
    for name, sizes in (("a", [(9, 9), (9, 10)]), ("b", [(0, 0), (0, 0)]), ("c", [(0, 0), (9, 9)])):
        with MadeBag(tmp_path / name, "ros1") as bag:
            for number, size in enumerate(sizes):
                bag.packet("/events", number + 1, size, "mono", mono_words(one, 0))
    with pytest.raises(RecordingError, match="width 10, those before height 9, width 9"):
        open_recording(tmp_path / "a", OpenOptions(index_folder=tmp_path))
    with pytest.raises(RecordingError, match="does not state the sensor size"):
        open_recording(tmp_path / "b", OpenOptions(index_folder=tmp_path))
    assert open_recording(tmp_path / "b", OpenOptions(height=20, width=30, index_folder=tmp_path)).num_events == 2
    assert open_recording(tmp_path / "c", OpenOptions(index_folder=tmp_path)).width == 9


def test_definitions_are_the_bags_own(tmp_path: Path) -> None:
    # A driver whose structs have wider coordinates and a field more.
    definitions = {
        "a/msg/Event": ([], [("x", (1, ("int32", 0))), ("id", (1, ("uint8", 0))), ("ts", (2, "b/msg/Time")),
                             ("y", (1, ("int64", 0))), ("polarity", (1, ("bool", 0)))]),
        "b/msg/Time": ([], [("sec", (1, ("int32", 0))), ("nanosec", (1, ("uint32", 0)))]),
        "a/msg/EventArray": ([], [("height", (1, ("uint8", 0))), ("width", (1, ("int32", 0))),
                                  ("name", (1, ("string", 0))), ("events", (4, ((2, "a/msg/Event"), 0)))]),
    }  # fmt: skip
    packed = bytes([9]) + b"".join(
        [(12).to_bytes(4, "little"), (2).to_bytes(4, "little"), b"ab", (2).to_bytes(4, "little")]
        + [x.to_bytes(4, "little", signed=True) + b"\7" + (-1).to_bytes(4, "little", signed=True)
           + (2500).to_bytes(4, "little") + y.to_bytes(8, "little") + p for x, y, p in ((-1, 5, b"\1"), (3, 4, b"\0"))]
    )  # fmt: skip
    size, (x, y, t, p) = EventMessages(FieldReader(definitions, "a/msg/EventArray", cdr=False)).decode(packed)
    assert (size, x.tolist(), y.tolist(), t.tolist(), p.tolist()) == (
        (9, 12), [65535, 3], [5, 4], [-999_998, -999_998], [1, 0],
    )  # fmt: skip
    for end in range(len(packed)):
        with pytest.raises(ValueError, match="truncated"):
            EventMessages(FieldReader(definitions, "a/msg/EventArray", cdr=False)).decode(packed[:end])
    endless = {"a/msg/A": ([], [("a", (2, "a/msg/A"))])}
    with pytest.raises(ValueError, match="no whole definition"):
        FieldReader(endless, "a/msg/A", cdr=False)


@settings(QUICK, max_examples=50)
@given(events=any_events(max_gap=1 << 40), size=st.integers(1, 70))
def test_written_bags_return_every_event(events: Events, size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.bag"
    path.unlink(missing_ok=True)
    write_rosbag1(path, in_pieces(events, size), events.height, events.width)
    assert_same(open_recording(path, OpenOptions(index_folder=tmp_path)).read(), events)


def test_ros_1_seconds_have_no_sign(tmp_path: Path) -> None:
    late = replace(EVENTS, t=EVENTS.t + (1 << 31) * 1_000_000)
    write_rosbag1(tmp_path / "a.bag", [late], 260, 346)
    assert_same(open_recording(tmp_path / "a.bag", OpenOptions(index_folder=tmp_path)).read(), late)


def test_written_bags_are_what_ros_writes(tmp_path: Path) -> None:
    write_rosbag1(tmp_path / "a.bag", [EVENTS], 260, 346)
    with MadeBag(tmp_path / "b.bag", ROS1) as bag:
        definition, checksum = bag.types.generate_msgdef(TYPE)
        assert checksum == _checksum()
        assert bag.topic("/x", TYPE).digest == checksum
    assert "MSG: dvs_msgs/Event" in TEXT and "MSG: dvs_msgs/Event" in definition
    with pytest.raises(ValueError, match="2\\^32 seconds"):
        late = Events.from_arrays([1], [1], [2**32 * 10**6], [1], height=9, width=9)
        write_rosbag1(tmp_path / "c.bag", [late], 9, 9)


def test_without_the_package_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rosbag1(tmp_path / "a.bag", [EVENTS], 260, 346)
    monkeypatch.setattr(rosbag_file, "_missing", ImportError("no module"))
    with pytest.raises(RecordingError, match="pip install rosbags"):
        open_recording(tmp_path / "a.bag")


@pytest.fixture(scope="module", params=["ros1", "lz4", "sqlite3", "mcap"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    kind = request.param
    path = tmp_path_factory.mktemp("bags") / "bag"
    with MadeBag(path, "ros1" if kind == "lz4" else kind, kind if kind == "lz4" else None) as bag:
        for number, part in enumerate(in_pieces(EVENTS.slice(0, 60), 20)):
            bag.array("/events", number + 1, part)
            bag.image("/image", number + 1, "mono8", np.zeros((3, 4), np.uint8), 4)
            bag.imu("/imu", number + 1, (1, 2, 3), (4, 5, 6))
    if path.is_dir():
        (path,) = (file for file in path.iterdir() if file.name != "metadata.yaml")
    return path.read_bytes()


def test_every_truncation_is_refused(small: bytes, tmp_path: Path) -> None:
    sqlite = small.startswith(b"SQLite")
    for end in range(1, len(small), 1024 if sqlite else 37):
        options = OpenOptions(index_folder=tmp_path / "index")
        found = check_damaged(small[:end], tmp_path, "bag", options, "rosbag2" if sqlite else None)
        assert found is None


@settings(QUICK, max_examples=100)
@given(data=st.data())
def test_damage_is_read_or_refused(data: st.DataObject, small: bytes, tmp_path: Path) -> None:
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    name = "rosbag1" if small.startswith(b"#ROSBAG") else "rosbag2"
    options = OpenOptions(backward="running_maximum", outside="drop", index_folder=tmp_path / "index")
    check_damaged(bytes(damaged), tmp_path, "bag", options, name)


@settings(QUICK, max_examples=60)
@given(data=st.data())
def test_damaged_metadata_are_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "bag"
    if not path.exists():
        made(tmp_path, "mcap")
        (tmp_path / "kept").write_bytes((path / "metadata.yaml").read_bytes())
    damaged = bytearray((tmp_path / "kept").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    (path / "metadata.yaml").write_bytes(damaged)
    try:
        recording = open_recording(path, OpenOptions(stream="/cam0/events", index_folder=tmp_path), "rosbag2")
        assert len(recording.read()) <= len(EVENTS)
    except RecordingError:
        pass


@pytest.mark.parametrize(
    ("encoding", "step", "message"),
    [("16UC1", 8, "'16UC1', can be read: mono8"), ("rgb8", 4, "rows of 4 bytes"), ("mono8", 4, None)],
)
def test_images_that_cannot_be_read_are_named(encoding: str, step: int, message: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.bag"
    with MadeBag(path, ROS1) as bag:
        bag.array("/events", 5, EVENTS.slice(0, 5))
        bag.image("/image", 6, encoding, np.full((3, 4), 9, np.uint8), step)
    (frames,) = (open_recording(path, OpenOptions(index_folder=tmp_path)).frames(),)
    assert len(frames) == 1
    if message is None:
        assert frames[0].image.tolist() == [[[9] * 4] * 3]
        return
    with pytest.raises(RecordingError, match=f"/image: frame 0: image of .*{message}"):
        frames[0]


def test_definitions_in_idl(tmp_path: Path) -> None:
    rule = "=" * 80 + "\nIDL: "
    time = "module builtin_interfaces { module msg { struct Time { int32 sec; uint32 nanosec; }; }; };\n"
    header = "struct Header { builtin_interfaces::msg::Time stamp; string frame_id; };"
    header = f"module std_msgs {{ module msg {{ {header} }}; }};\n"
    packet = (
        "module event_camera_msgs { module msg { struct EventPacket { std_msgs::msg::Header header; uint32 height; "
        "uint32 width; uint64 seq; uint64 time_base; string encoding; boolean is_bigendian; sequence<uint8> events; }; "
        "}; };\n"
    )
    names = ("event_camera_msgs/msg/EventPacket", "std_msgs/msg/Header", "builtin_interfaces/msg/Time")
    text = "".join(f"{rule}{name}\n{idl}" for name, idl in zip(names, (packet, header, time), strict=True))
    with MadeBag(tmp_path / "bag", "mcap") as bag:
        add = bag.writer.add_connection
        bag.connections["/events", names[0]] = add("/events", names[0], msgdef=text, rihs01="RIHS01_0")
        bag.packet(
            "/events", 5, (260, 346), "mono", mono_words(EVENTS, int(EVENTS.t[0]) * 1000), int(EVENTS.t[0]) * 1000
        )
    assert_same(open_recording(tmp_path / "bag", OpenOptions(index_folder=tmp_path)).read(), EVENTS)
