"""Writing AEDAT 2.0: change events as jAER and v2e's readers take them, for the sensors whose addresses are known."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.aedat2_layout import DAVIS, DVS128, Layout
from eventsam.io.aedat2_records import JUMP

CHIPS = {
    (128, 128): (DVS128, "ch.unizh.ini.jaer.chip.retina.DVS128"),
    (180, 240): (DAVIS, "eu.seebetter.ini.chips.davis.DAVIS240C"),
    (260, 346): (DAVIS, "eu.seebetter.ini.chips.davis.Davis346blue"),
    (480, 640): (DAVIS, "eu.seebetter.ini.chips.davis.Davis640"),
}
"""Layout and jAER class by (height, width)."""

OFFSET_KEY = "eventsam_t_offset_us"
"""Header line with what to add to every time, where the first is too large for the format's 32 bits."""

JUMP_LINE = "Written by eventsam: inertial samples of type 7, which no camera sends, advance the clock"
"""Header line without which such words mean nothing (see `aedat2_records.JUMP`)."""

_WRAP = 1 << 31
"""Times and steps from here on need more than the format has."""


def write_aedat2(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write events that follow each other in time to a new file.

    Raises ValueError for a sensor size whose addresses are not known and for times before 0. Other readers see the
    times modulo 2^32 us, and from the first event on where that is later than 2^31 us (35 minutes).
    """
    if (height, width) not in CHIPS:
        allowed = ", ".join(f"{rows}x{columns}" for rows, columns in CHIPS)
        raise ValueError(f"AEDAT 2.0 has no addresses for a sensor of {height}x{width}; it has for {allowed}")
    layout, chip = CHIPS[height, width]
    filled = (chunk for chunk in chunks if len(chunk))
    first = next(filled, None)
    offset = _offset(first)
    with path.open("wb") as file:
        file.write(_header(chip, offset))
        now = 0
        for number, chunk in enumerate(chain([first], filled) if first is not None else ()):
            t = chunk.t - offset
            file.write(_records(_addresses(chunk, height, width, layout), t, now, starts=number == 0))
            now = int(t[-1])


def _offset(first: Events | None) -> int:
    t = 0 if first is None else int(first.t[0])
    if t < 0:
        raise ValueError(f"AEDAT 2.0 is written for times from 0 on, the first event is at {t} us")
    return t if t >= _WRAP else 0


def _header(chip: str, offset: int) -> bytes:
    lines = [
        "!AER-DAT2.0",
        " This is a raw AE data file - do not edit",
        " Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event",
        " Timestamps tick is 1 us",
        f" AEChip: {chip}",
        f" {JUMP_LINE}",
        *([f" {OFFSET_KEY} {offset}"] if offset else []),
        "End Of ASCII Header",
    ]
    return "".join(f"#{line}\r\n" for line in lines).encode("ascii")


def _addresses(events: Events, height: int, width: int, layout: Layout) -> NDArray[np.uint32]:
    x = width - 1 - events.x.astype(np.uint32)
    y = height - 1 - events.y.astype(np.uint32)
    p = events.p.astype(np.uint32) if layout.on else 1 - events.p.astype(np.uint32)
    return (x << layout.x_shift | y << layout.y_shift | p << layout.p_shift).astype(np.uint32)


def _records(addresses: NDArray[np.uint32], t: NDArray[np.int64], now: int, starts: bool) -> bytes:
    """Return the records of events at times `t` (without the offset) after one at `now`."""
    previous = np.concatenate([[now], t[:-1]])
    # (step + 2^31) >> 32, halved first so that no step is too large to add to.
    steps = ((t - previous >> 1) + (_WRAP >> 1)) >> 31
    places: list[int] = []
    words: list[int] = []
    times: list[int] = []
    for place in np.flatnonzero(steps):
        for shift, which in ((0, 0), (16, 1)):
            value = int(steps[place]) >> shift & 0xFFFF
            if value:
                places.append(int(place))
                words.append(JUMP | value << 12 | which)
                times.append(int(previous[place]))
    if starts and not places and addresses[0] >> 24 == ord("#"):
        # jAER would take the first event for a header line: a word that does nothing goes before it.
        places, words, times = [0], [JUMP], [0]
    records = np.empty((len(t) + len(places), 2), ">u4")
    before = np.array(places, np.int64)
    records[:, 0] = np.insert(addresses, before, np.array(words, np.uint32))
    records[:, 1] = np.insert(t, before, np.array(times, np.int64)).astype(np.uint32)
    return records.tobytes()
