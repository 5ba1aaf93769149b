"""One name, colour and marker per input, the same in every figure and table."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How an input or a metric is named and drawn."""

    label: str
    colour: str
    marker: str = "o"


@dataclass(frozen=True)
class Direction:
    """A metric's name for people and which way is better."""

    label: str
    higher_is_better: bool


INPUTS: dict[str, Look] = {
    "sharp_rgb": Look("Sharp RGB", "#0072B2", "^"),
    "events_blurry": Look("Events + blurry RGB", "#D55E00", "o"),
    "events_only": Look("Events only", "#E69F00", "P"),
    "control": Look("Control (no events)", "#AA4499", "s"),
    "edi": Look("EDI, then RGB", "#009E73", "D"),
    "blurry_rgb": Look("Blurry RGB", "#777777", "v"),
}
"""The inputs, upper bound first. Colours after Okabe & Ito, "Color Universal Design": told apart by every eye."""

TRUTH = Look("Truth", "#5B6B7A")
"""The ground-truth shape."""

IMAGES: dict[str, str] = {"blurry": "Blurry frame", "events": "Events", "edi": "EDI", "sharp": "Sharp frame"}
"""Names of the pictures in a sample row; other keys show as they are."""

METRICS: dict[str, Direction] = {
    "viou": Direction("vIoU", True),
    "f_score": Direction("F-score", True),
    "chamfer": Direction("Chamfer distance", False),
    "cd_p": Direction("CD prediction to truth", False),
    "cd_n": Direction("CD truth to prediction", False),
    "viou_solid": Direction("Solid vIoU", True),
    "cd_normal": Direction("Normal difference", False),
    "uni3d": Direction("Uni3D similarity", True),
}
"""Metrics with a known direction; of others, names that start like a distance or a loss count as lower is better."""

BLURS = ("easy", "medium", "hard")
"""Blur levels in the order in which they are shown."""

CURVE = "#3D5A80"
"""Colour of curves and bars that belong to no input: one that no input has."""

WARNING = "#B3261E"
"""Colour of what breaks a limit."""


def look_of(input_name: str) -> Look:
    """Return how an input is drawn; an unknown one shows its own name in grey."""
    return TRUTH if input_name == "truth" else INPUTS.get(input_name, Look(input_name, "#444444", "x"))


def direction_of(metric: str) -> Direction:
    """Return a metric's label and direction."""
    name, _, alignment = metric.partition("/")
    lower = name.startswith(("chamfer", "loss", "cd_", "l1", "l2", "error"))
    known = METRICS.get(name, Direction(name, not lower))
    return Direction(f"{known.label}/{alignment}", known.higher_is_better) if alignment else known


def in_order(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names, known ones first in their known order, the rest as they came."""
    distinct = tuple(dict.fromkeys(names))
    ranks = {name: rank for rank, name in enumerate(known)}
    return tuple(sorted(distinct, key=lambda name: ranks.get(name, len(ranks))))
