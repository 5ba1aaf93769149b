"""AEDAT 4: files written here by the format's description, real recordings where they are there, and damage."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_fuzz import check_damaged

from eventsam.events import Events
from eventsam.io.aedat4 import Aedat4Recording
from eventsam.io.aedat4_packets import Scratch, decompress
from eventsam.io.detect import open_recording
from eventsam.io.info import recording_info
from eventsam.io.recording import Backward, OpenOptions, RecordingError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
HEIGHT, WIDTH = 6, 8
CODECS = {"none": 0, "lz4": 1, "zstd": 3}
XML = """<dv version="2.0"><node name="outInfo" path="/outInfo/">{streams}</node></dv>"""
STREAM = (
    '<node name="{number}"><attr key="typeIdentifier" type="string">{identifier}</attr><node name="info">'
    '<attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr>'
    '<attr key="source" type="string">{source}</attr></node></node>'
)


def compress(data: bytes, codec: str) -> bytes:
    if codec == "none":
        return data
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def finish(builder: flatbuffers.Builder, root: int, identifier: bytes) -> bytes:
    builder.FinishSizePrefixed(root, file_identifier=identifier)
    return bytes(builder.Output())


def event_packet(events: Events) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.StartVector(16, len(events), 8)
    for x, y, t, p in reversed(list(zip(events.x, events.y, events.t.tolist(), events.p, strict=True))):
        builder.Prep(8, 16)
        builder.Pad(3)
        builder.PrependBool(bool(p))
        builder.PrependInt16(int(y))
        builder.PrependInt16(int(x))
        builder.PrependInt64(t)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    return finish(builder, builder.EndObject(), b"EVTS")


def frame_packet(pixels: np.ndarray, times: dict[int, int], pixel_format: int) -> bytes:
    builder = flatbuffers.Builder(1024)
    vector = builder.CreateByteVector(pixels.tobytes())
    builder.StartObject(13)
    for slot, value in times.items():
        builder.PrependInt64Slot(slot, value, 0)
    builder.PrependInt8Slot(5, pixel_format, 0)
    builder.PrependInt16Slot(6, pixels.shape[1], 0)
    builder.PrependInt16Slot(7, pixels.shape[0], 0)
    builder.PrependUOffsetTRelativeSlot(10, vector, 0)
    return finish(builder, builder.EndObject(), b"FRME")


def header(codec: str, table_position: int, xml: str) -> bytes:
    builder = flatbuffers.Builder(1024)
    text = builder.CreateString(xml)
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(2, text, 0)
    # Stored even at its default, so that the header's size does not depend on the position.
    builder.ForceDefaults(True)
    builder.PrependInt64Slot(1, table_position, 0)
    builder.PrependInt32Slot(0, CODECS.get(codec, 9), 0)
    builder.Finish(builder.EndObject(), file_identifier=b"IOHE")
    body = bytes(builder.Output())
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(body)) + body


def table_of(entries: Sequence[tuple[int, int, int, Events | None]]) -> bytes:
    builder = flatbuffers.Builder(1024)
    offsets = []
    for position, stream, size, events in entries:
        builder.StartObject(5)
        builder.PrependInt64Slot(0, position, 0)
        builder.Prep(4, 8)
        builder.PrependInt32(size)
        builder.PrependInt32(stream)
        builder.PrependStructSlot(1, builder.Offset(), 0)
        if events is not None and len(events):
            for slot, value in ((2, len(events)), (3, int(events.t[0])), (4, int(events.t[-1]))):
                builder.PrependInt64Slot(slot, value, 0)
        offsets.append(builder.EndObject())
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    return finish(builder, builder.EndObject(), b"FTAB")


def stream_xml(*streams: tuple[int, str], height: int = HEIGHT, source: str = "DAVIS346") -> str:
    parts = [
        STREAM.format(number=number, identifier=identifier, width=WIDTH, height=height, source=source)
        for number, identifier in streams
    ]
    return XML.format(streams="".join(parts))


def write(
    path: Path,
    packets: Sequence[tuple[int, bytes, Events | None]],
    codec: str = "lz4",
    table: str = "full",
    xml: str = stream_xml((0, "EVTS"), (1, "FRME")),
) -> Path:
    start = len(header(codec, 0, xml))
    body, entries = b"", []
    for stream, payload, events in packets:
        data = compress(payload, codec)
        entries.append((start + len(body) + 8, stream, len(data), events if table == "full" else None))
        body += struct.pack("<ii", stream, len(data)) + data
    position = start + len(body) if table != "none" else -1
    end = compress(table_of(entries), codec) if table != "none" else b""
    path.write_bytes(header(codec, position, xml) + body + end)
    return path


def make_events(num_events: int = 300) -> Events:
    random = np.random.default_rng(1)
    return Events.from_arrays(
        random.integers(0, WIDTH, num_events),
        random.integers(0, HEIGHT, num_events),
        np.sort(random.integers(0, 5000, num_events)) + 1_600_000_000_000_000,
        random.integers(0, 2, num_events),
        height=HEIGHT,
        width=WIDTH,
    )


def opened(path: Path, **options: object) -> Aedat4Recording:
    recording = open_recording(path, OpenOptions(**options))
    assert isinstance(recording, Aedat4Recording)
    return recording


def split(events: Events, size: int = 40) -> list[tuple[int, bytes, Events | None]]:
    parts = [events.slice(i, i + size) for i in range(0, len(events), size)]
    return [(0, event_packet(part), part) for part in parts]


def equal(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "xytp")


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("table", ["full", "bare", "none"])
def test_events_by_time_with_every_codec_and_table(tmp_path: Path, codec: str, table: str) -> None:
    events = make_events()
    recording = opened(write(tmp_path / "a.aedat4", split(events), codec, table))
    assert (recording.height, recording.width, recording.num_events) == (HEIGHT, WIDTH, len(events))
    first, last = recording.t_first_us, recording.t_last_us
    assert (first, last) == (events.t[0], events.t[-1])
    for t0, t1 in ((first, last + 1), (first + 700, first + 1900), (first, first), (last + 1, last + 9), (0, 5)):
        assert equal(recording.events(t0, t1), events.between(t0, t1))
    with pytest.raises(ValueError, match="ends before it starts"):
        recording.events(5, 4)


@pytest.mark.parametrize("times", [{0: 1500, 3: 1400, 4: 1600}, {0: 1400, 11: 200}])
def test_grey_and_colour_frames(tmp_path: Path, times: dict[int, int]) -> None:
    random = np.random.default_rng(2)
    grey = random.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    blue_green_red = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    with_alpha = random.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    pixels = [(grey, 0), (blue_green_red, 16), (with_alpha, 24)]
    packets = [(1, frame_packet(image, times, number), None) for image, number in pixels]
    frames = opened(write(tmp_path / "a.aedat4", split(make_events()) + packets)).frames()
    assert len(frames) == 3
    assert np.array_equal(frames[0].image, grey[None])
    assert np.array_equal(frames[0].rgb, np.stack([grey] * 3))
    assert np.array_equal(frames[1].image, blue_green_red[..., ::-1].transpose(2, 0, 1))
    assert np.array_equal(frames[-1].rgb, with_alpha[..., [2, 1, 0]].transpose(2, 0, 1))
    assert {(f.t_us, f.exposure_start_us, f.exposure_end_us) for f in frames} == {(1500, 1400, 1600)}
    assert [f.t_us for f in frames[1:]] == [1500, 1500]
    with pytest.raises(IndexError, match="frame 3 of 3"):
        frames[3]


def test_a_recording_without_events_or_frames(tmp_path: Path) -> None:
    recording = opened(write(tmp_path / "a.aedat4", []))
    assert (recording.num_events, recording.t_first_us, recording.t_last_us) == (0, 0, 0)
    assert len(recording.events(0, 10)) == len(recording.frames()) == 0


def table_packet(identifier: bytes, rows: Sequence[dict[int, tuple[str, float]]]) -> bytes:
    """A packet whose root holds a vector of tables; a row maps slots to (kind, value)."""
    builder = flatbuffers.Builder(1024)
    offsets = []
    for row in rows:
        builder.StartObject(11)
        for slot, (kind, value) in row.items():
            getattr(builder, f"Prepend{kind}Slot")(slot, value, 0)
        offsets.append(builder.EndObject())
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    return finish(builder, builder.EndObject(), identifier)


def imu_packet(*samples: tuple[int, float]) -> bytes:
    rows = [{0: ("Int64", t)} | {slot: ("Float32", value * slot) for slot in range(2, 8)} for t, value in samples]
    return table_packet(b"IMUS", rows)


def trigger_packet(*triggers: tuple[int, int]) -> bytes:
    return table_packet(b"TRIG", [{0: ("Int64", t), 1: ("Int8", kind)} for t, kind in triggers])


FOUR_STREAMS = stream_xml((0, "EVTS"), (1, "FRME"), (2, "IMUS"), (3, "TRIG"))


@pytest.mark.parametrize("table", ["bare", "none"])
def test_inertial_samples_and_triggers_in_si_units_and_time_order(tmp_path: Path, table: str) -> None:
    packets = [
        (2, imu_packet((2000, 0.5), (3000, 0.25)), None),
        (3, trigger_packet((70, 1), (90, 2), (95, 0)), None),
        (2, imu_packet((1000, 1.0)), None),
        (3, trigger_packet((80, 5), (81, 3)), None),
    ]
    recording = opened(write(tmp_path / "a.aedat4", packets, table=table, xml=FOUR_STREAMS))
    imu, triggers = recording.imu(), recording.triggers()
    assert imu.t.tolist() == [1000, 2000, 3000]
    # Slots 2, 3, 4 are the accelerometer in g, 5, 6, 7 the gyroscope in degrees per second.
    assert np.allclose(imu.accelerometer[0], np.array([2, 3, 4]) * 9.80665)
    assert np.allclose(imu.gyroscope[2], np.deg2rad([1.25, 1.5, 1.75]))
    assert triggers.t.tolist() == [70, 80, 81, 90, 95]
    assert triggers.source.tolist() == [1, 5, 3, 2, 0]
    assert triggers.edge.tolist() == [1, 0, 1, 0, 0]


def test_frames_come_in_time_order_and_from_the_camera_of_the_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    xml = stream_xml((0, "EVTS"), (1, "FRME"), (2, "FRME"))
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    packets = [(1, frame_packet(image, {0: t}, 0), make_events(1)) for t in (30, 20)]
    packets += [(2, frame_packet(image, {0: 10}, 0), None)]
    frames = opened(write(tmp_path / "a.aedat4", packets, xml=xml)).frames()
    # The table gives both frames the same time, so they stay in file order.
    assert [frame.t_us for frame in frames] == [30, 20]
    assert "reading FRME of stream 1, not of 2" in caplog.text
    times = [make_events(1).slice(0, 1), make_events(300).slice(5, 6)]
    packets = [(1, frame_packet(image, {0: t}, 0), part) for t, part in zip((30, 20), times, strict=True)]
    frames = opened(write(tmp_path / "a.aedat4", packets, xml=xml)).frames()
    assert [frame.t_us for frame in frames] == [20, 30]


@pytest.mark.parametrize("table", ["full", "bare", "none"])
def test_packets_out_of_order_follow_the_policy(tmp_path: Path, table: str) -> None:
    events = make_events()
    path = write(tmp_path / "a.aedat4", split(events)[::-1], table=table)
    with pytest.raises(RecordingError, match="time goes back at event"):
        opened(path).read()
    recording = opened(path, backward="sort")
    assert np.array_equal(recording.read().t, events.t)
    assert recording.faults().num_backward > 0
    part = recording.events(int(events.t[50]), int(events.t[200]))
    assert np.array_equal(part.t, events.between(int(events.t[50]), int(events.t[200])).t)
    held = opened(path, backward="running_maximum").read()
    assert len(held) == len(events) and (np.diff(held.t) >= 0).all()


def test_disorder_inside_a_packet_is_found_though_the_table_does_not_show_it(tmp_path: Path) -> None:
    events = make_events(40)
    shuffled = events.t.copy()
    shuffled[[3, 30]] = shuffled[[30, 3]]
    loose = type("Loose", (), {"x": events.x, "y": events.y, "t": shuffled, "p": events.p, "__len__": lambda s: 40})()
    path = write(tmp_path / "a.aedat4", [(0, event_packet(loose), events)])
    with pytest.raises(RecordingError, match="time goes back at event"):
        opened(path).read()
    assert np.array_equal(opened(path, backward="sort").read().t, events.t)


def test_a_table_that_lies_about_events_is_found(tmp_path: Path) -> None:
    events = make_events(100)
    path = write(tmp_path / "a.aedat4", [(0, event_packet(events.slice(0, 60)), events)])
    with pytest.raises(RecordingError, match="holds 60 events, the table of packets claims 100"):
        opened(path).read()
    assert len(opened(path, backward="sort").read()) == 60
    path = write(tmp_path / "b.aedat4", [(0, event_packet(events.slice(20, 80)), events.slice(0, 60))])
    with pytest.raises(RecordingError, match="its index says"):
        opened(path).read()
    huge = type("Huge", (), {"t": events.t, "__len__": lambda self: 1 << 40})()
    path = write(tmp_path / "c.aedat4", [(0, event_packet(events), huge)])
    with pytest.raises(RecordingError, match=f"claims {1 << 40} events in the packet"):
        opened(path)


def test_a_few_bytes_cannot_ask_for_all_the_memory(tmp_path: Path) -> None:
    bomb = compress(struct.pack("<I", (1 << 30) - 4) + bytes(1 << 22), "zstd")
    with pytest.raises(ValueError, match=f"claims to decompress to {1 << 30} bytes, allowed: 1000"):
        decompress(np.frombuffer(bomb, np.uint8), "zstd", 1000, Scratch())
    short = compress(struct.pack("<I", 5000) + bytes(400), "lz4")
    with pytest.raises(ValueError, match="does not decompress to the 5004 bytes it claims"):
        decompress(np.frombuffer(short, np.uint8), "lz4", 1 << 20, Scratch())
    start = header("zstd", -1, stream_xml((0, "EVTS")))
    assert check_damaged(start + struct.pack("<ii", 0, len(bomb)) + bomb, tmp_path) is None


@pytest.mark.parametrize("table", ["full", "none"])
@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_every_truncation_is_refused_by_name_and_byte(tmp_path: Path, table: str, codec: str) -> None:
    path = write(tmp_path / "night.aedat4", split(make_events(80)), codec, table, stream_xml((0, "EVTS")))
    whole = path.read_bytes()
    ends = {len(header(codec, 0, stream_xml((0, "EVTS"))))}
    if table == "none":
        # Without a table nobody knows that a packet is missing.
        ends.add(max(ends) + 8 + struct.unpack_from("<i", whole, max(ends) + 4)[0])
    for size in set(range(len(whole))) - (ends if table == "none" else set()):
        path.write_bytes(whole[:size])
        with pytest.raises(RecordingError, match=r"night\.aedat4"):
            opened(path).read()


SMALL = [
    *split(make_events(90), 50),
    (1, frame_packet(np.zeros((HEIGHT, WIDTH), np.uint8), {0: 5}, 0), None),
    (2, imu_packet((3, 1.0), (4, 2.0)), None),
    (3, trigger_packet((70, 1)), None),
]
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["none", "lz4", "zstd"]), st.sampled_from(["full", "none"]), CHANGES, st.booleans())
def test_damage_anywhere_is_refused_or_harmless(
    tmp_path: Path, codec: str, table: str, changes: list[tuple[float, int]], sort: bool
) -> None:
    hurt = bytearray(write(tmp_path / "whole", SMALL, codec, table, FOUR_STREAMS).read_bytes())
    for place, value in changes:
        hurt[int(place * len(hurt))] = value
    policy: Backward = "sort" if sort else "refuse"
    check_damaged(bytes(hurt), tmp_path, options=OpenOptions(backward=policy, outside="drop"))


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (stream_xml((1, "FRME")), "expected one event stream, found 0"),
        (stream_xml((0, "EVTS"), (1, "EVTS")), "expected one event stream, found 2"),
        (stream_xml((0, "EVTS"), height=0), "allowed: 1 to"),
        ("<dv><node>", "not XML"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><dv>&b;</dv>', "declares a document type"),
    ],
)
def test_faulty_stream_descriptions_are_refused(tmp_path: Path, xml: str, message: str) -> None:
    path = write(tmp_path / "a.aedat4", [], xml=xml)
    with pytest.raises(RecordingError, match=f"a.aedat4.*{message}"):
        opened(path)


def test_one_of_several_event_streams_is_picked_by_number_or_camera(tmp_path: Path) -> None:
    left, right = make_events(30), make_events(50)
    packets = [(0, event_packet(left), left), (2, event_packet(right), right)]
    xml = stream_xml((0, "EVTS"), (2, "EVTS")).replace("DAVIS346", "LEFT", 1).replace("DAVIS346", "RIGHT", 1)
    path = write(tmp_path / "stereo.aedat4", packets, xml=xml)
    assert opened(path, stream="2").num_events == opened(path, stream="RIGHT").num_events == 50
    with pytest.raises(RecordingError, match="event stream '1', found 0"):
        opened(path, stream="1")


def test_a_size_that_the_file_does_not_state_is_given(tmp_path: Path) -> None:
    xml = stream_xml((0, "EVTS"), height=0).replace(f">{WIDTH}<", ">0<")
    path = write(tmp_path / "a.aedat4", split(make_events()), xml=xml)
    with pytest.raises(RecordingError, match="give height and width"):
        opened(path)
    assert opened(path, height=HEIGHT, width=WIDTH).num_events == 300
    with pytest.raises(RecordingError, match="outside the sensor"):
        opened(path, height=HEIGHT, width=3).read()


def test_unknown_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat4"
    path.write_bytes(header("brotli", -1, stream_xml((0, "EVTS"))))
    with pytest.raises(RecordingError, match="unknown compression 9"):
        opened(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not beside this checkout")
def test_real_recording() -> None:
    name = "event_vision_library/sample.aedat4"
    expected = json.loads((SHARED / "data" / "expected.json").read_text())[name]
    recording = opened(SHARED / "data" / name)
    info = recording_info(recording)
    assert info["sha256_xytp"] == expected["sha256_xytp_int64_us"]
    assert [info[key] for key in ("num_frames", "num_imu", "num_triggers")] == [4, 160, 17]
    frames = list(recording.frames())
    assert [frame.image.shape for frame in frames] == [(1, 260, 346)] * expected["other"]["frame"]
    assert [frame.exposure_end_us - frame.exposure_start_us for frame in frames] == [500] * 4
    assert np.diff([frame.t_us for frame in frames]).tolist() == [40_000] * 3
    # The camera stood still: what it felt is gravity.
    assert np.allclose(np.linalg.norm(recording.imu().accelerometer, axis=1), 9.8, atol=0.5)
    triggers = recording.triggers()
    exposed = triggers.t[triggers.source == 9] - triggers.t[triggers.source == 8]
    assert exposed.tolist() == [500] * 4
