"""AEDAT 2.0 and 1.0: words put together here by jAER's description of its chips, files written here, and damage."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_fuzz import check_damaged

from eventsam.events import Events
from eventsam.io import aedat2
from eventsam.io.aedat2 import Aedat2Recording
from eventsam.io.aedat2_writer import CHIPS, write_aedat2
from eventsam.io.detect import open_recording
from eventsam.io.recording import OpenOptions, RecordingError

START = "#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
DAVIS346 = "# HardwareInterface: DAVIS FX3 0002-INI\r\n# AEChip: eu.seebetter.ini.chips.davis.Davis346blue\r\n"
DAVIS240 = "# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"
Word = tuple[int, int]
"""Address and time."""


def file(path: Path, words: Sequence[Word], header: str = START + DAVIS346) -> Path:
    records = np.array([(address, time & 0xFFFFFFFF) for address, time in words], ">u4").reshape(-1, 2)
    path.write_bytes(header.encode("latin-1") + records.tobytes())
    return path


def opened(path: Path, **options: object) -> Aedat2Recording:
    recording = open_recording(path, OpenOptions(**options))
    assert isinstance(recording, Aedat2Recording)
    return recording


def davis(x: int, y: int, p: int, t: int) -> Word:
    return y << 22 | x << 12 | p << 11, t


def rows(events: Events) -> list[tuple[int, int, int, int]]:
    return list(zip(events.x.tolist(), events.y.tolist(), events.t.tolist(), events.p.tolist(), strict=True))


def equal(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "xytp")


def make_events(num_events: int, height: int, width: int, first: int = 0) -> Events:
    random = np.random.default_rng(num_events)
    t = first + np.sort(random.integers(0, 1_000_000, num_events))
    x, y = random.integers(0, width, num_events), random.integers(0, height, num_events)
    return Events.from_arrays(x, y, t, random.integers(0, 2, num_events), height=height, width=width)


def test_davis_words_are_turned_upright_and_other_words_skipped(tmp_path: Path) -> None:
    inertial = [(0x80000C00 | code << 28 | 5 << 12, 12) for code in range(7)]
    words = [davis(0, 0, 1, 10), (0x80000000 | 3 << 22, 11), *inertial, (0x400, 13), davis(345, 259, 0, 14)]
    recording = opened(file(tmp_path / "a.aedat", words))
    assert (recording.height, recording.width, recording.num_events) == (260, 346, 2)
    assert rows(recording.read()) == [(345, 259, 10, 1), (0, 0, 14, 0)]
    assert len(recording.imu()) == len(recording.frames()) == 0


def test_the_input_pin_gives_triggers(tmp_path: Path) -> None:
    words = [(0x400, 5), davis(1, 1, 1, 6), (0x402, 7), (0x403, 8), (0x404, 9), (0x80000400, 10)]
    triggers = opened(file(tmp_path / "a.aedat", words)).triggers()
    assert triggers.t.tolist() == [5, 7, 8, 9]
    assert triggers.source.tolist() == [0, 2, 3, 4]
    assert triggers.edge.tolist() == [0, 0, 1, 1]


def test_dvs128_has_the_polarity_the_other_way_round(tmp_path: Path) -> None:
    header = START + "# HardwareInterface: DVS128#30011\r\n"
    words = [(3 << 8 | 5 << 1 | 0, 1), (3 << 8 | 5 << 1 | 1, 2), (0x8000, 3), (0x80000000, 4)]
    recording = opened(file(tmp_path / "a.aedat", words, header))
    assert rows(recording.read()) == [(122, 124, 1, 1), (122, 124, 2, 0)]
    assert recording.triggers().t.tolist() == [3, 4]


def test_version_1_has_16_bit_addresses(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    records = np.array(
        [(3 << 8 | 5 << 1, 1), (0x8000, 2), (127 << 8 | 127 << 1 | 1, 70000)], [("a", ">u2"), ("t", ">i4")]
    )
    path.write_bytes(b"#!AER-DAT1.0\r\n" + records.tobytes())
    recording = opened(path)
    assert rows(recording.read()) == [(122, 124, 1, 1), (0, 0, 70000, 0)]
    assert recording.triggers().t.tolist() == [2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordingError, match=r"truncated: at byte 26 starts a record of 6 bytes, 5 are there"):
        opened(path)


def test_640x480_has_two_layouts(tmp_path: Path) -> None:
    named = file(
        tmp_path / "a.aedat", [davis(0, 479, 1, 1)], START + "# AEChip: eu.seebetter.ini.chips.davis.Davis640\r\n"
    )
    assert rows(opened(named).read()) == [(639, 0, 1, 1)]
    unnamed = file(tmp_path / "b.aedat", [(479 << 11 | 0 << 1 | 1, 1)], START)
    assert rows(opened(unnamed, height=480, width=640).read()) == [(639, 0, 1, 1)]


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (START, {}, "give height and width"),
        (START, {"height": 100, "width": 100}, r"none of 100x100 pixels is known \(known: 128x128, 180x240"),
        (START + DAVIS346, {"height": 180, "width": 240}, "states height 260, width 346"),
        (START + "# AEChip: ch.unizh.ini.jaer.chip.DVS12\r\n", {}, "chip 'ch.*DVS12' are not known; the nearest"),
        ("#!AER-DAT3.0\r\n", {}, "AEDAT 3.0 is not read, only 1.0, 2.0, 3.1 and 4.0"),
        (START + DAVIS346 + "# eventsam_t_offset_us -4\r\n", {}, "expected whole microseconds"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, header: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(RecordingError, match=f"a.aedat: .*{message}"):
        opened(file(tmp_path / "a.aedat", [davis(1, 2, 1, 3)], header), **options)


@pytest.mark.parametrize("end", ["", "#End Of ASCII Header\r\n"])
def test_a_first_event_that_looks_like_a_header_line(tmp_path: Path, end: str) -> None:
    # The first byte of y = 141 is `#`, and a later time holds CR LF.
    words = [davis(0, 141, 1, 1), davis(7, 8, 0, 0x0D0A), davis(9, 10, 1, 0x0D0A0D0A)]
    header = START + "# Gr\xfc\xdfe, \tM\xe4rz 2014\r\n" + DAVIS346 + end
    recording = opened(file(tmp_path / "a.aedat", words, header))
    assert recording.num_events == 3
    assert rows(recording.read())[0] == (345, 118, 1, 1)


def test_the_clock_wraps_both_ways(tmp_path: Path) -> None:
    limit = 1 << 31
    times = [limit - 2, limit - 1, limit, limit + 5, 2 * limit - 1, 2 * limit + 3, 4 * limit - limit // 2]
    path = file(tmp_path / "a.aedat", [davis(1, 1, 1, t) for t in times[:6]])
    assert opened(path).read().t.tolist() == times[:6]
    # Time that steps back a little at the wrap stays a step back.
    path = file(tmp_path / "b.aedat", [davis(1, 1, 1, t) for t in (2 * limit - 3 - 2 * limit, 2, -1, 3)])
    with pytest.raises(RecordingError, match="time goes back at event 2, from 2 to -1 us"):
        opened(path).read()
    assert opened(path, backward="sort").read().t.tolist() == [-3, -1, 2, 3]


def test_pixels_outside_the_sensor(tmp_path: Path) -> None:
    path = file(tmp_path / "a.aedat", [davis(346, 0, 1, 1), davis(0, 260, 1, 2), davis(0, 0, 1, 3)])
    with pytest.raises(RecordingError, match="event 0 lies at"):
        opened(path).read()
    recording = opened(path, outside="drop")
    assert recording.num_events == 1 and recording.faults().num_outside == 2


def frame_words(image: np.ndarray, start: int, rolling: bool) -> list[Word]:
    """Readings that give a frame of 10-bit `image` (180, 240); the reset level is 1000."""
    resets, signals = [], []
    for x in range(240):
        for y in range(180):
            place = 0x80000000 | (179 - y) << 22 | x << 12
            resets.append((x, place | 1000))
            signals.append((x + 2 if rolling else 1000 + x, place | 0x400 | (1000 - int(image[y, x]))))
    # Rolling: a column is read two columns after its reset, so that both kinds take turns.
    order = sorted([*resets, *signals], key=lambda word: word[0])
    return [(address, start + column) for column, address in order]


@pytest.mark.parametrize("rolling", [False, True])
def test_frames_are_what_the_light_took_away(tmp_path: Path, rolling: bool) -> None:
    random = np.random.default_rng(1)
    images = [random.integers(0, 1001, (180, 240)) for _ in range(2)]
    first, second = (frame_words(image, start, rolling) for image, start in zip(images, (5000, 90_000), strict=True))
    event = davis(3, 4, 1, 5001)
    # A frame that was cut off stands between the whole ones.
    words = [*first[:9], event, *first[9:], *first[:1000], *second, *second[:777]]
    recording = opened(file(tmp_path / "a.aedat", words, START + DAVIS240), backward="sort")
    frames = recording.frames()
    assert recording.num_events == 1 and len(frames) == 2
    for frame, image, start in zip(frames, images, (5000, 90_000), strict=True):
        assert np.array_equal(frame.image, (image >> 2).astype(np.uint8)[None])
        exposure = (start, start + 2) if rolling else (start + 239, start + 1000)
        assert (frame.exposure_start_us, frame.exposure_end_us) == exposure
        assert frame.t_us == sum(exposure) // 2


@pytest.mark.parametrize("size", CHIPS)
@pytest.mark.parametrize("first", [0, 1_600_000_000_000_000])
def test_written_events_come_back(
    tmp_path: Path, size: tuple[int, int], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aedat2, "BLOCK_RECORDS", 1000)
    events = make_events(5000, *size, first)
    path = tmp_path / "a.aedat"
    write_aedat2(path, (events.slice(i, i + 700) for i in range(0, 5600, 700)), *size)
    recording = opened(path)
    assert (recording.height, recording.width) == size
    assert equal(recording.read(), events)
    chunks = list(recording.chunks(300))
    assert np.array_equal(np.concatenate([chunk.y for chunk in chunks]), events.y)
    for t0, t1 in ((0, 1), (first + 5000, first + 90_000), (first + 999_000, first + 2_000_000)):
        assert equal(recording.events(t0, t1), events.between(t0, t1))
    assert (b"eventsam_t_offset_us" in path.read_bytes()[:600]) == (first > 0)
    assert len(recording.triggers()) == 0


TIMES = st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 10**6) | st.integers(2**32 - 9, 2**32 + 9), max_size=9)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TIMES, st.sampled_from(sorted(CHIPS)), st.integers(0, 2**32))
def test_any_time_from_0_on_comes_back(tmp_path: Path, times: list[int], size: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    count = len(times)
    x, y = random.integers(0, size[1], count), random.integers(0, size[0], count)
    t = np.array(sorted(times), np.int64)
    events = Events.from_arrays(x, y, t, random.integers(0, 2, count), height=size[0], width=size[1])
    write_aedat2(tmp_path / "a.aedat", [events], *size)
    chunks = list(opened(tmp_path / "a.aedat").chunks())
    assert [row for chunk in chunks for row in rows(chunk)] == rows(events)


def test_a_written_first_event_is_no_header_line_to_others(tmp_path: Path) -> None:
    events = Events.from_arrays([3], [259 - 141], [7], [1], height=260, width=346)
    path = tmp_path / "a.aedat"
    write_aedat2(path, [events], 260, 346)
    data = path.read_bytes()
    records = data[data.index(b"#End Of ASCII Header\r\n") + 22 :]
    assert len(records) == 16 and records[0] != ord("#") and records[8] == ord("#")
    assert rows(opened(path).read()) == rows(events)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no addresses for a sensor of 720x1280; it has for 128x128, 180x240"):
        write_aedat2(tmp_path / "a.aedat", [], 720, 1280)
    early = Events.from_arrays([1], [1], [-1], [1], height=128, width=128)
    with pytest.raises(ValueError, match="times from 0 on, the first event is at -1 us"):
        write_aedat2(tmp_path / "a.aedat", [early], 128, 128)


def test_no_events(tmp_path: Path) -> None:
    write_aedat2(tmp_path / "a.aedat", [], 260, 346)
    recording = opened(tmp_path / "a.aedat")
    assert (recording.num_events, recording.t_first_us, len(recording.read())) == (0, 0, 0)


def test_every_truncation_is_refused_or_between_records(tmp_path: Path) -> None:
    write_aedat2(tmp_path / "a.aedat", [make_events(20, 260, 346)], 260, 346)
    whole = (tmp_path / "a.aedat").read_bytes()
    start = len(whole) - 160
    for size in range(len(whole)):
        path = tmp_path / "b.aedat"
        path.write_bytes(whole[:size])
        if size >= start and (size - start) % 8 == 0:
            assert opened(path).num_events == (size - start) // 8
        elif size >= start:
            with pytest.raises(RecordingError, match=f"truncated: at byte {size - (size - start) % 8} starts a record"):
                opened(path)
        else:
            check_damaged(whole[:size], tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    st.sampled_from(["running_maximum", "sort", "refuse"]),
)
def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path, changes: list[tuple[float, int]], policy: str) -> None:
    events = make_events(60, 180, 240, 1 << 40)
    write_aedat2(tmp_path / "whole", [events], 180, 240)
    hurt = bytearray((tmp_path / "whole").read_bytes())
    for place, value in changes:
        hurt[int(place * len(hurt))] = value
    check_damaged(bytes(hurt), tmp_path, options=OpenOptions(backward=policy, outside="drop"))
