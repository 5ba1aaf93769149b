"""How the chips that jAER records put an event into a 32-bit address, after jAER's own classes of these chips.

jAER counts y from the bottom, and cameras send x mirrored: here the origin is the upper left corner, so
x = width - 1 - raw x, y = height - 1 - raw y, for every chip below.

- DAVIS (240A/B/C, 346, 640, 128, 208): bit 31 marks pixel readings (frames) and inertial samples; else y in bits 30-22,
  x in 21-12, polarity in 11 (1 = brighter), and bit 10 marks events of the input pin. Of a word with bit 31, bits 11-10
  are 0 for a reset read, 1 for a signal read (both with y and x as above and a 10-bit value in bits 9-0, and here x is
  not mirrored) and 3 for an inertial sample.
- DVS128: y in bits 14-8, x in 7-1, polarity in 0 where **0 is brighter** (jAER's class inverts it); bits 15 and 31 mark
  events of the input pin.
- DVS640 (jAER's viewer of 640x480 recordings, and what v2e writes for 640x480): y in bits 20-11, x in 10-1, polarity
  in 0.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from eventsam.io.aedat_header import AedatHeader


@dataclass(frozen=True)
class Layout:
    """Where an address has its parts; `on` is the polarity bit of a brighter pixel.

    `other` has the bits of which any says that a word is no change event; `external` those that then say that it is an
    event of the input pin, unless it has a bit of `multiplexed`.
    """

    name: str
    y_shift: int
    y_bits: int
    x_shift: int
    x_bits: int
    p_shift: int
    on: int
    other: int
    external: int
    multiplexed: int

    def numbers(self, height: int, width: int, jumps: bool) -> NDArray[np.int64]:
        """Return what the compiled decoders need, as one array so that they compile once."""
        x_mask, y_mask = (1 << self.x_bits) - 1, (1 << self.y_bits) - 1
        return np.array(
            [
                self.y_shift,
                y_mask,
                self.x_shift,
                x_mask,
                self.p_shift,
                self.on,
                self.other,
                height,
                width,
                jumps,
            ],
            np.int64,
        )


DAVIS = Layout("DAVIS", 22, 9, 12, 10, 11, 1, 1 << 31 | 1 << 10, 1 << 10, 1 << 31)
DVS128 = Layout("DVS128", 8, 7, 1, 7, 0, 0, 1 << 31 | 1 << 15, 1 << 31 | 1 << 15, 0)
DVS640 = Layout("DVS640", 11, 10, 1, 10, 0, 1, 0, 0, 0)

CHIPS = {
    "dvs128": (DVS128, 128, 128),
    "tmpdiff128": (DVS128, 128, 128),
    "dvs640": (DVS640, 480, 640),
    "davis128": (DAVIS, 128, 128),
    "davis208": (DAVIS, 192, 208),
    "davis240": (DAVIS, 180, 240),
    "davis346": (DAVIS, 260, 346),
    "davis640": (DAVIS, 480, 640),
}
"""Layout, height and width by how the last part of an AEChip class starts."""

SIZES = {(128, 128): DVS128, (180, 240): DAVIS, (260, 346): DAVIS, (480, 640): DVS640}
"""Layout by (height, width) of files that do not name their chip: those of v2e and of old recorders."""


def chip_of(header: AedatHeader) -> tuple[Layout, int, int] | None:
    """Return layout, height and width of the chip that a header names, None where it names none.

    Raises ValueError for a chip whose addresses are not known here.
    """
    name = header.value("AEChip")
    if name is None:
        interface = (header.value("HardwareInterface") or "").lower()
        return CHIPS["dvs128"] if interface.startswith("dvs128") else None
    short = name.split(".")[-1].lower()
    for start, chip in CHIPS.items():
        if short.startswith(start):
            return chip
    nearest = get_close_matches(short, CHIPS, n=1)
    hint = f"; the nearest known is {nearest[0]!r}" if nearest else ""
    raise ValueError(f"the addresses of chip {name!r} are not known{hint} (known: {', '.join(CHIPS)})")
