"""AEDAT 3.1: packets put together here by iniVation's description of the format, and damage."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_fuzz import check_damaged

from eventsam.io import aedat3
from eventsam.io.aedat3 import Aedat3Recording
from eventsam.io.detect import open_recording
from eventsam.io.recording import OpenOptions, RecordingError

HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS240C\r\n#Start-Time: 2016-04-11 17:54:13 (TZ+0200)\r\n"
END = b"#!END-HEADER\r\n"
Event = tuple[int, int, int, int]


def packet(kind: int, events: list[bytes], source: int = 1, wraps: int = 0, room: int | None = None) -> bytes:
    size = len(events[0]) if events else 8
    room = len(events) if room is None else room
    header = struct.pack("<2h6i", kind, source, size, 4, wraps, room, len(events), len(events))
    return header + b"".join(events) + bytes(size * max(0, room - len(events)))


def polarity(x: int, y: int, t: int, p: int, valid: int = 1) -> bytes:
    return struct.pack("<Ii", x << 17 | y << 2 | p << 1 | valid, t)


def special(kind: int, t: int, valid: int = 1) -> bytes:
    return struct.pack("<Ii", kind << 1 | valid, t)


def sample(t: int, *values: float) -> bytes:
    return struct.pack("<Ii7f", 1, t, *values, 0.0)


def frame(image: np.ndarray, start: int, end: int, valid: int = 1) -> bytes:
    height, width, channels = image.shape
    head = struct.pack("<I8i", channels << 1 | valid, start - 5, end + 5, start, end, width, height, 0, 0)
    return head + image.astype("<u2").tobytes()


def opened(path: Path, *packets: bytes, header: bytes = HEADER + END, **options: object) -> Aedat3Recording:
    path.write_bytes(header + b"".join(packets))
    recording = open_recording(path, OpenOptions(**options))
    assert isinstance(recording, Aedat3Recording)
    return recording


def rows(recording: Aedat3Recording) -> list[Event]:
    events = recording.read()
    return list(zip(events.x.tolist(), events.y.tolist(), events.t.tolist(), events.p.tolist(), strict=True))


def test_events_keep_their_place_and_continue_over_wraps(tmp_path: Path) -> None:
    late = (1 << 31) - 1
    first = packet(1, [polarity(0, 0, 5, 1), polarity(239, 179, late, 0), polarity(9, 9, 6, 1, valid=0)], room=5)
    second = packet(1, [polarity(3, 4, 7, 1)], wraps=1)
    recording = opened(tmp_path / "a.aedat", first, packet(1, []), second)
    assert (recording.format, recording.height, recording.width) == ("aedat3", 180, 240)
    assert rows(recording) == [(0, 0, 5, 1), (239, 179, late, 0), (3, 4, late + 8, 1)]
    assert recording.events(6, late + 1).t.tolist() == [late]


def test_frames_samples_and_triggers(tmp_path: Path) -> None:
    grey = np.arange(12).reshape(3, 4, 1) * 256 + 255
    colour = np.arange(36).reshape(3, 4, 3) * 256
    frames = [frame(grey, 400, 500), frame(grey, 0, 0, valid=0), frame(grey, 100, 300)]
    recording = opened(
        tmp_path / "a.aedat",
        packet(2, frames),
        packet(2, [frame(colour, 600, 700)], wraps=1),
        packet(3, [sample(9, 1, 2, 3, 4, 5, 6), sample(8, 0, 0, -1, 90, 0, 0)]),
        packet(0, [special(2, 5), special(3, 6), special(0, 7), special(5, 8), special(4, 9), special(1, 9, valid=0)]),
        packet(1, [polarity(1, 1, 1, 1)]),
    )
    found = list(recording.frames())
    assert [entry.t_us for entry in found] == [200, 450, (1 << 31) + 650]
    assert np.array_equal(found[0].image, np.arange(12, dtype=np.uint8).reshape(1, 3, 4))
    assert np.array_equal(found[2].image, np.arange(36, dtype=np.uint8).reshape(3, 4, 3).transpose(2, 0, 1))
    imu, triggers = recording.imu(), recording.triggers()
    assert imu.t.tolist() == [8, 9]
    assert np.allclose(imu.accelerometer[1], np.array([1, 2, 3]) * 9.80665)
    assert np.allclose(imu.gyroscope[0], [np.pi / 2, 0, 0])
    assert (triggers.t.tolist(), triggers.source.tolist()) == ([5, 6, 9], [2, 3, 4])
    assert triggers.edge.tolist() == [1, 0, 1]


def test_one_of_several_sources(tmp_path: Path) -> None:
    packets = packet(1, [polarity(1, 1, 1, 1)]), packet(1, [polarity(2, 2, 2, 0)], source=2)
    header = HEADER + b"#Source 2: DVS128\r\n#-Source 7: DVS128\r\n" + END
    with pytest.raises(RecordingError, match=r"found 2; the file's: 1 \(DAVIS240C\), 2 \(DVS128\)"):
        opened(tmp_path / "a.aedat", *packets, header=header)
    assert opened(tmp_path / "a.aedat", *packets, header=header, stream="2").height == 128
    assert rows(opened(tmp_path / "a.aedat", *packets, header=header, stream="DAVIS240C")) == [(1, 1, 1, 1)]


def test_a_size_that_the_name_does_not_tell(tmp_path: Path) -> None:
    header = HEADER.replace(b"DAVIS240C", b"File") + END
    data = packet(1, [polarity(1, 1, 1, 1)])
    with pytest.raises(RecordingError, match="give height and width"):
        opened(tmp_path / "a.aedat", data, header=header)
    assert opened(tmp_path / "a.aedat", data, header=header, height=5, width=6).width == 6
    with pytest.raises(RecordingError, match="states height 180"):
        opened(tmp_path / "a.aedat", data, height=5, width=6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (packet(1, [polarity(1, 1, 1, 1)])[:20], r"truncated: a packet starts at byte \d+, the file has"),
        (packet(1, [polarity(1, 1, 1, 1)])[:-1], r"truncated: the packet at byte \d+ ends at byte \d+, the file has"),
        (packet(1, [b"abcd"]), "claims 1 events of type 1 with 4 bytes in room for 1"),
        (packet(1, [polarity(1, 1, 1, 1)], room=0), "claims 1 events of type 1 with 8 bytes in room for 0"),
        (packet(-32767, [polarity(1, 1, 1, 1)]), "is compressed, which is not read"),
        (struct.pack("<2h6i", 1, 1, 2**31 - 1, 4, 0, 2**31 - 1, 1, 1), "truncated"),
    ],
)
def test_impossible_packets_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=f"a.aedat: .*{message}"):
        opened(tmp_path / "a.aedat", data)


def test_faulty_frames_and_formats(tmp_path: Path) -> None:
    image = np.zeros((3, 4, 1))
    short = frame(image, 1, 2)[:-2]
    recording = opened(tmp_path / "a.aedat", packet(2, [short]))
    with pytest.raises(RecordingError, match=r"frame at byte \d+ of 3x4 pixels and 1 channels needs 24 bytes, 22 are"):
        list(recording.frames())
    with pytest.raises(RecordingError, match="format 'Serial-TS', read is RAW"):
        opened(tmp_path / "a.aedat", header=HEADER.replace(b"RAW", b"Serial-TS") + END)


def test_blocks_of_packets_in_and_out_of_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aedat3, "BLOCK_EVENTS", 30)
    random = np.random.default_rng(0)
    t = np.sort(random.integers(0, 1000, 200))
    packets = [packet(1, [polarity(i % 200, 7, int(t[i]), 1) for i in range(k, k + 10)]) for k in range(0, 200, 10)]
    recording = opened(tmp_path / "a.aedat", *packets)
    assert recording.read().t.tolist() == t.tolist()
    assert recording.events(300, 700).t.tolist() == t[(t >= 300) & (t < 700)].tolist()
    with pytest.raises(RecordingError, match="time goes back"):
        opened(tmp_path / "a.aedat", *packets[::-1]).read()
    assert opened(tmp_path / "a.aedat", *packets[::-1], backward="sort").read().t.tolist() == t.tolist()
    assert opened(tmp_path / "a.aedat").num_events == 0


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8), st.booleans()
)
def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path, changes: list[tuple[float, int]], cut: bool) -> None:
    hurt = bytearray(HEADER + END)
    hurt += packet(1, [polarity(i, i, i, 1) for i in range(30)]) + packet(2, [frame(np.zeros((3, 4, 1)), 5, 6)])
    hurt += packet(0, [special(2, 5)]) + packet(3, [sample(9, 1, 2, 3, 4, 5, 6)])
    for place, value in changes:
        hurt[int(place * len(hurt))] = value
    hurt = hurt[: int(changes[0][0] * len(hurt))] if cut else hurt
    options = OpenOptions(backward="running_maximum", outside="drop")
    if hurt:
        check_damaged(bytes(hurt), tmp_path, options=options)
