"""Seeded textured objects without any file: single solids and compositions with telling silhouettes."""

from collections.abc import Callable

import numpy as np

from eventsam.simulate.appearance import solid_patterns
from eventsam.simulate.meshes import TexturedMesh, normalise
from eventsam.simulate.palette import random_pattern
from eventsam.simulate.solids import (
    Solid,
    arc_tube,
    box,
    capsule,
    cone,
    cylinder,
    ellipsoid,
    extrude,
    regular_prism,
    revolve,
    torus,
    wedge,
)

Parts = list[Solid]
Family = Callable[[np.random.Generator], Parts]


def _box(generator: np.random.Generator) -> Parts:
    return [box(generator.uniform(0.3, 1.0, 3))]


def _wedge(generator: np.random.Generator) -> Parts:
    return [wedge(generator.uniform(0.4, 1.0, 3))]


def _cylinder(generator: np.random.Generator) -> Parts:
    radius = generator.uniform(0.2, 0.5)
    return [cylinder(radius, generator.uniform(0.3, 1.2), radius * generator.uniform(0.5, 1.0))]


def _cone(generator: np.random.Generator) -> Parts:
    return [cone(generator.uniform(0.3, 0.5), generator.uniform(0.5, 1.2))]


def _ellipsoid(generator: np.random.Generator) -> Parts:
    return [ellipsoid(generator.uniform(0.25, 0.6, 3))]


def _torus(generator: np.random.Generator) -> Parts:
    ring = torus(0.5, generator.uniform(0.1, 0.22))
    return [ring.rotated(0, 90.0)] if generator.uniform() < 0.5 else [ring]


def _capsule(generator: np.random.Generator) -> Parts:
    solid = capsule(generator.uniform(0.15, 0.3), generator.uniform(0.4, 0.9))
    return [solid.rotated(1, 90.0)] if generator.uniform() < 0.5 else [solid]


def _prism(generator: np.random.Generator) -> Parts:
    return [regular_prism(int(generator.integers(3, 7)), generator.uniform(0.3, 0.5), generator.uniform(0.3, 1.2))]


def _legs(width: float, depth: float, height: float, thickness: float) -> Parts:
    """Four legs that stand inside a width x depth rectangle on z = 0."""
    x, y = (width - thickness) / 2, (depth - thickness) / 2
    leg = box([thickness, thickness, height])
    return [leg.moved([sx * x, sy * y, height / 2]) for sx in (-1, 1) for sy in (-1, 1)]


def _table(generator: np.random.Generator) -> Parts:
    width, depth = generator.uniform(0.7, 1.1), generator.uniform(0.5, 0.8)
    height, thick = generator.uniform(0.45, 0.8), generator.uniform(0.07, 0.14)
    if generator.uniform() < 0.5:
        top = box([width, depth, thick]).moved([0, 0, height])
        return [top, *_legs(width, depth, height, generator.uniform(0.08, 0.14))]
    top = cylinder(width / 2, thick).moved([0, 0, height])
    foot = cylinder(width / 3.5, thick).moved([0, 0, thick / 2])
    return [top, cylinder(generator.uniform(0.05, 0.1), height).moved([0, 0, height / 2]), foot]


def _chair(generator: np.random.Generator) -> Parts:
    width, depth = generator.uniform(0.45, 0.65), generator.uniform(0.45, 0.65)
    seat, thick = generator.uniform(0.35, 0.5), generator.uniform(0.07, 0.12)
    back = generator.uniform(0.35, 0.6)
    plate = box([width, depth, thick]).moved([0, 0, seat])
    rest = box([width, thick, back]).moved([0, (depth - thick) / 2, seat + back / 2])
    return [plate, rest, *_legs(width, depth, seat, generator.uniform(0.07, 0.11))]


def _mug(generator: np.random.Generator) -> Parts:
    radius, height = generator.uniform(0.28, 0.4), generator.uniform(0.55, 0.85)
    wall = generator.uniform(0.05, 0.09)
    inner = radius - wall
    profile = np.array([[0, 0], [radius, 0], [radius, height], [inner, height], [inner, wall], [0, wall]])
    bow, tube = height * generator.uniform(0.25, 0.36), generator.uniform(0.045, 0.07)
    # The half ring stands upright; it starts inside the wall so that cup and handle are one body.
    handle = arc_tube(bow, tube, 180.0).rotated(2, -90.0).rotated(0, 90.0)
    return [revolve(profile), handle.moved([radius - wall / 2, 0, height / 2])]


def _lamp(generator: np.random.Generator) -> Parts:
    height, shade = generator.uniform(0.8, 1.1), generator.uniform(0.25, 0.4)
    wide = generator.uniform(0.28, 0.42)
    foot = cylinder(generator.uniform(0.2, 0.32), 0.08).moved([0, 0, 0.04])
    pole = cylinder(generator.uniform(0.03, 0.06), height).moved([0, 0, height / 2])
    cover = cylinder(wide, shade, wide * generator.uniform(0.35, 0.8)).moved([0, 0, height])
    return [foot, pole, cover]


def _bottle(generator: np.random.Generator) -> Parts:
    radius, body = generator.uniform(0.2, 0.32), generator.uniform(0.45, 0.7)
    neck, shoulder = radius * generator.uniform(0.25, 0.5), generator.uniform(0.1, 0.25)
    bend = np.linspace(0, 1, 8)[:, None]
    slope = np.hstack([radius + (neck - radius) * (1 - np.cos(np.pi * bend)) / 2, body + shoulder * bend])
    top = body + shoulder + generator.uniform(0.12, 0.25)
    glass = revolve(np.vstack([[[0, 0], [radius, 0]], slope, [[neck, top], [0, top]]]))
    return [glass, cylinder(neck * 1.25, 0.1).moved([0, 0, top])]


def _corner(generator: np.random.Generator) -> Parts:
    """An L or a T of two boxes, lying or standing."""
    long, cross, thick = generator.uniform(0.7, 1.1), generator.uniform(0.5, 0.9), generator.uniform(0.18, 0.32)
    depth = generator.uniform(0.2, 0.5)
    bar = box([long, depth, thick])
    shift = (long - thick) / 2 if generator.uniform() < 0.5 else 0.0
    arm = box([thick, depth, cross]).moved([shift, 0, (cross + thick) / 2 - 0.01])
    parts = [bar, arm]
    return [part.rotated(0, 90.0) for part in parts] if generator.uniform() < 0.35 else parts


def _stack(generator: np.random.Generator) -> Parts:
    """Two to four solids on top of each other, a little off axis."""
    parts: Parts = []
    level = 0.0
    for _ in range(int(generator.integers(2, 5))):
        radius, height = generator.uniform(0.15, 0.45), generator.uniform(0.18, 0.42)
        solids = (
            box([1.6 * radius, 1.6 * radius, height]),
            cylinder(radius, height),
            ellipsoid([radius, radius, height / 2]),
            cone(radius, height),
            regular_prism(5, radius, height),
        )
        solid = solids[int(generator.integers(len(solids)))]
        offset = generator.uniform(-0.08, 0.08, 2)
        parts.append(solid.moved([offset[0], offset[1], level + height / 2]))
        level += height - 0.02
    return parts


def _dumbbell(generator: np.random.Generator) -> Parts:
    length, radius = generator.uniform(0.7, 1.1), generator.uniform(0.18, 0.3)
    bar = cylinder(generator.uniform(0.05, 0.1), length)
    ends = [ellipsoid([radius] * 3), ellipsoid([radius * generator.uniform(0.6, 1.0)] * 3)]
    parts = [bar, ends[0].moved([0, 0, length / 2]), ends[1].moved([0, 0, -length / 2])]
    return [part.rotated(1, 90.0) for part in parts] if generator.uniform() < 0.6 else parts


def _arch(generator: np.random.Generator) -> Parts:
    radius, tube = generator.uniform(0.35, 0.5), generator.uniform(0.08, 0.14)
    leg = generator.uniform(0.15, 0.4)
    bow = arc_tube(radius, tube, 180.0).rotated(0, 90.0)
    posts = [box([2 * tube, 2 * tube, leg]).moved([side * radius, 0, -leg / 2 + 0.01]) for side in (-1, 1)]
    return [bow, *posts]


def _house(generator: np.random.Generator) -> Parts:
    width, depth, wall = generator.uniform(0.5, 0.9), generator.uniform(0.5, 0.9), generator.uniform(0.3, 0.6)
    roof, eaves = generator.uniform(0.2, 0.45), 1.15
    gable = extrude([[-width / 2 * eaves, 0], [width / 2 * eaves, 0], [0, roof]], depth * eaves).rotated(0, 90.0)
    chimney = box([0.12, 0.12, roof]).moved([width / 4, depth / 5, wall + roof / 2])
    return [box([width, depth, wall]).moved([0, 0, wall / 2]), gable.moved([0, 0, wall - 0.01]), chimney]


FAMILIES: dict[str, Family] = {
    "box": _box,
    "wedge": _wedge,
    "cylinder": _cylinder,
    "cone": _cone,
    "ellipsoid": _ellipsoid,
    "torus": _torus,
    "capsule": _capsule,
    "prism": _prism,
    "table": _table,
    "chair": _chair,
    "mug": _mug,
    "lamp": _lamp,
    "bottle": _bottle,
    "corner": _corner,
    "stack": _stack,
    "dumbbell": _dumbbell,
    "arch": _arch,
    "house": _house,
}
"""Every kind of object by name; each draws its proportions from a generator."""
COMPOSITION_SHARE = 0.7
SINGLE = ("box", "wedge", "cylinder", "cone", "ellipsoid", "torus", "capsule", "prism")


def draw_family(generator: np.random.Generator) -> str:
    """Draw a kind of object: seven times in ten one of several parts."""
    composed = generator.uniform() < COMPOSITION_SHARE
    names = [name for name in FAMILIES if (name not in SINGLE) == composed]
    return names[int(generator.integers(len(names)))]


def procedural_mesh(generator: np.random.Generator, family: str | None = None) -> TexturedMesh:
    """Draw a textured object in the normalised object frame; raise KeyError for an unknown family.

    The parts are closed one by one and may overlap: the object is their union. Each part has a pattern of its own,
    except that equal-looking parts (legs, posts) often share one.
    """
    if family is not None and family not in FAMILIES:
        raise KeyError(f"unknown family {family!r} (allowed: {', '.join(FAMILIES)})")
    parts = FAMILIES[family if family is not None else draw_family(generator)](generator)
    patterns = [random_pattern(generator) for _ in range(min(len(parts), 3))]
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets[:-1], strict=True)])
    owner = np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts])
    vertices = normalise(np.concatenate([part.vertices for part in parts]))
    colours = solid_patterns(patterns, np.minimum(owner, len(patterns) - 1))
    return TexturedMesh(vertices, faces.astype(np.int32), colours)
