"""Sensors drawn at random from stated ranges, with a record of what was drawn from what."""

import dataclasses
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.presets import V2E_NAMES, from_v2e
from eventsam.unknown_name import unknown_name

SCALES = ("linear", "log")
_FIELDS = tuple(
    field.name for field in dataclasses.fields(PixelModel) if isinstance(field.default, float | int | None)
    and not isinstance(field.default, bool) and field.name != "seed"
)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """A parameter drawn evenly from [low, high], or evenly in its logarithm."""

    low: float
    high: float
    scale: str = "linear"

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"a range from {self.low} to {self.high} is empty or not finite")
        if self.scale not in SCALES:
            raise ValueError(unknown_name("scale of a range", self.scale, SCALES))
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"a range on a log scale starts at {self.low}, allowed: above 0")

    def draw(self, generator: np.random.Generator) -> float:
        """Draw one value."""
        if self.scale == "log":
            return float(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))
        return float(generator.uniform(self.low, self.high))


@dataclass(frozen=True)
class Drawn:
    """A drawn sensor and where it comes from."""

    model: PixelModel
    record: dict[str, Any]


def read_ranges(path: Path) -> dict[str, Range]:
    """Read a JSON object of name to [low, high] or [low, high, "log"]; names are ours or v2e's.

    Raises ValueError naming the file and the entry.
    """
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(entries, Mapping):
        raise ValueError(f"{path}: holds a {type(entries).__name__}, expected an object of name to [low, high]")
    ranges = {}
    for name, entry in entries.items():
        try:
            ranges[name] = Range(*entry)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'{path}: {name} is {entry!r}, expected [low, high] or [low, high, "log"] ({error})'
            ) from error
    _check_names(ranges, str(path))
    return ranges


def draw_sensor(ranges: Mapping[str, Range], start: PixelModel, seed: int) -> Drawn:
    """Change `start` by a value from every range.

    A parameter's value depends on the seed and its own name and range only: adding a range leaves the others' values.
    Raises ValueError for unknown names, two names of one parameter and impossible sensors.
    """
    _check_names(ranges, "ranges")
    drawn = {}
    for name, choice in ranges.items():
        field = V2E_NAMES[name][0] if name in V2E_NAMES else name
        drawn[name] = choice.draw(np.random.default_rng([seed, zlib.crc32(field.encode())]))
    model = from_v2e({name: value for name, value in drawn.items() if name in V2E_NAMES}, start)
    own: dict[str, Any] = {name: value for name, value in drawn.items() if name not in V2E_NAMES}
    if "refractory_us" in own:
        own["refractory_us"] = drawn["refractory_us"] = round(own["refractory_us"])
    model = dataclasses.replace(model, **own)
    record = {
        "seed": seed,
        "ranges": {name: dataclasses.asdict(choice) for name, choice in ranges.items()},
        "drawn": drawn,
    }
    return Drawn(model, record)


def _check_names(ranges: Mapping[str, Range], source: str) -> None:
    seen: dict[str, str] = {}
    allowed = sorted({*_FIELDS, *(name for name, (field, _) in V2E_NAMES.items() if field in _FIELDS)})
    for name in ranges:
        if name not in allowed:
            raise ValueError(f"{source}: {unknown_name('sensor parameter', name, allowed)}")
        field = V2E_NAMES[name][0] if name in V2E_NAMES else name
        if field in seen:
            raise ValueError(f"{source}: {name} and {seen[field]} are the same parameter")
        seen[field] = name
