"""Seeded colours and patterns with enough contrast to be seen by an event sensor."""

import colorsys

import numpy as np

from eventsam.simulate.appearance import PATTERNS, Pattern

PATTERN_SHARES = (0.1, 0.25, 0.25, 0.3, 0.1)
"""How often each of `PATTERNS` is drawn."""
FREQUENCIES = {
    "plain": (1.0, 1.0),
    "checker": (1.5, 3.5),
    "stripes": (2.5, 7.0),
    "noise": (4.0, 10.0),
    "rings": (3.0, 7.0),
}
"""Cycles (noise: features) per unit of object space, in which an object is about 0.96 wide."""


def random_colour(generator: np.random.Generator, value: tuple[float, float]) -> tuple[float, float, float]:
    """A saturated or pale colour whose brightest channel lies in `value`."""
    hue, saturation = generator.uniform(), generator.uniform(0.1, 0.9)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, generator.uniform(*value))
    return float(red), float(green), float(blue)


def random_pattern(generator: np.random.Generator) -> Pattern:
    """Draw a pattern of one dark and one bright colour."""
    kind = str(generator.choice(PATTERNS, p=PATTERN_SHARES))
    dark, bright = random_colour(generator, (0.2, 0.5)), random_colour(generator, (0.75, 1.0))
    if generator.uniform() < 0.5:
        dark, bright = bright, dark
    direction = generator.normal(size=3)
    direction /= np.linalg.norm(direction)
    return Pattern(
        kind=kind,
        frequency=float(generator.uniform(*FREQUENCIES[kind])),
        direction=(float(direction[0]), float(direction[1]), float(direction[2])),
        phase=float(generator.uniform(0.3, 2 * np.pi)),
        sharpness=float(generator.uniform(1.0, 4.0)),
        colour_a=dark,
        colour_b=bright,
    )
