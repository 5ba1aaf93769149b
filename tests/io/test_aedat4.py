"""AEDAT 4: files written here by the format's description, real recordings where they are there, and damage."""

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import pyarrow as pa
import pytest

from eventsam.events import Events
from eventsam.io.aedat4 import Aedat4Recording

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


def split(events: Events, size: int = 40) -> list[tuple[int, bytes, Events | None]]:
    parts = [events.slice(i, i + size) for i in range(0, len(events), size)]
    return [(0, event_packet(part), part) for part in parts]


def equal(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "xytp")


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("table", ["full", "bare", "none"])
def test_events_by_time_with_every_codec_and_table(tmp_path: Path, codec: str, table: str) -> None:
    events = make_events()
    recording = Aedat4Recording(write(tmp_path / "a.aedat4", split(events), codec, table))
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
    frames = Aedat4Recording(write(tmp_path / "a.aedat4", split(make_events()) + packets)).frames()
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
    recording = Aedat4Recording(write(tmp_path / "a.aedat4", []))
    assert (recording.num_events, recording.t_first_us, recording.t_last_us) == (0, 0, 0)
    assert len(recording.events(0, 10)) == len(recording.frames()) == 0


@pytest.mark.parametrize("table", ["full", "none"])
@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_every_truncation_is_refused_by_name(tmp_path: Path, table: str, codec: str) -> None:
    path = write(tmp_path / "night.aedat4", split(make_events()), codec, table)
    whole = path.read_bytes()
    last_packet = len(whole) - 20
    for size in (0, 5, 14, 17, 100, 600, last_packet, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"night\.aedat4"):
            Aedat4Recording(path)


def test_damage_anywhere_is_a_value_error_or_harmless(tmp_path: Path) -> None:
    grey = np.zeros((HEIGHT, WIDTH), np.uint8)
    packets = [*split(make_events()), (1, frame_packet(grey, {0: 5}, 0), None)]
    path = write(tmp_path / "hurt.aedat4", packets)
    whole = bytearray(path.read_bytes())
    random = np.random.default_rng(4)
    for _ in range(300):
        hurt = whole.copy()
        for place in random.integers(0, len(whole), 3):
            hurt[place] = random.integers(0, 256)
        path.write_bytes(hurt)
        try:
            recording = Aedat4Recording(path)
            recording.events(recording.t_first_us, recording.t_last_us + 1)
            list(recording.frames())
        except ValueError as error:
            assert "hurt.aedat4" in str(error)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (stream_xml((1, "FRME")), "expected one event stream, found 0"),
        (stream_xml((0, "EVTS"), (1, "EVTS")), "expected one event stream, found 2"),
        (stream_xml((0, "EVTS"), height=0), "does not state the sensor size"),
        (stream_xml((0, "EVTS"), (1, "FRME"), (2, "FRME")), r"several frame streams beside event stream 0: \[1, 2\]"),
        ("<dv><node>", "not XML"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><dv>&b;</dv>', "declares a document type"),
    ],
)
def test_faulty_stream_descriptions_are_refused(tmp_path: Path, xml: str, message: str) -> None:
    path = write(tmp_path / "a.aedat4", [], xml=xml)
    with pytest.raises(ValueError, match=f"a.aedat4.*{message}"):
        Aedat4Recording(path)


def test_one_of_several_event_streams_is_picked_by_number(tmp_path: Path) -> None:
    left, right = make_events(30), make_events(50)
    packets = [(0, event_packet(left), left), (2, event_packet(right), right)]
    path = write(tmp_path / "stereo.aedat4", packets, xml=stream_xml((0, "EVTS"), (2, "EVTS")))
    assert Aedat4Recording(path, stream=2).num_events == 50
    with pytest.raises(ValueError, match="an event stream 1, found 0"):
        Aedat4Recording(path, stream=1)


def test_unknown_compression_and_disorder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat4"
    path.write_bytes(header("brotli", -1, stream_xml((0, "EVTS"))))
    with pytest.raises(ValueError, match="unknown compression 9"):
        Aedat4Recording(path)
    with pytest.raises(ValueError, match="not in time order"):
        Aedat4Recording(write(path, split(make_events())[::-1]))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the golden files are not beside this checkout")
def test_golden_file() -> None:
    recording = Aedat4Recording(SHARED / "golden" / "ev_raw_lz4.aedat4")
    events = recording.events(recording.t_first_us, recording.t_last_us + 1)
    with np.load(SHARED / "golden" / "ev_raw_davis346_expected.npz") as expected:
        assert all(np.array_equal(getattr(events, name), expected[name]) for name in "xytp")
        assert (events.height, events.width) == (expected["H"], expected["W"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not beside this checkout")
def test_real_recording() -> None:
    name = "event_vision_library/sample.aedat4"
    expected = json.loads((SHARED / "data" / "expected.json").read_text())[name]
    recording = Aedat4Recording(SHARED / "data" / name)
    events = recording.events(recording.t_first_us, recording.t_last_us + 1)
    decoded = np.stack([events.x, events.y, events.t, events.p], axis=1).astype("<i8")
    assert hashlib.sha256(decoded.tobytes()).hexdigest() == expected["sha256_xytp_int64_us"]
    assert recording.num_events == len(events) == expected["n_events"]
    assert (recording.height, recording.width) == (expected["height"], expected["width"])
    frames = list(recording.frames())
    assert [frame.image.shape for frame in frames] == [(1, 260, 346)] * expected["other"]["frame"]
    assert [frame.exposure_end_us - frame.exposure_start_us for frame in frames] == [500] * 4
    assert np.diff([frame.t_us for frame in frames]).tolist() == [40_000] * 3
