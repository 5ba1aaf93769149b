"""The colour of a surface point: solid (3-D) patterns, texture images and corner colours."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

PATTERNS = ("plain", "checker", "stripes", "noise", "rings")
NUM_PATTERN_VALUES = 13  # kind, frequency, direction (3), phase, sharpness, colour a (3), colour b (3)


class Appearance(Protocol):
    """Gives hit points their colour."""

    def colours(self, faces: Int32, u: Float32, v: Float32, points: Float32) -> Float32:
        """Return (N, 3) RGB in [0, 1] for hits on `faces` (N,) at barycentric (u, v) and object position (N, 3).

        The hit is (1 - u - v) * corner 0 + u * corner 1 + v * corner 2.
        """

    def select(self, face: Int64, corner: Int64) -> "Appearance":
        """Return the appearance of a mesh whose corner (i, j) was corner `corner[i, j]` of `face[i, j]` in this one."""


@dataclass(frozen=True)
class Pattern:
    """Two colours mixed by a function of the object-space position, so no texture coordinates are needed."""

    kind: str
    frequency: float
    direction: tuple[float, float, float]
    phase: float
    sharpness: float
    colour_a: tuple[float, float, float]
    colour_b: tuple[float, float, float]

    def values(self) -> list[float]:
        """The numbers the shading kernel reads; raise ValueError for an unknown kind."""
        if self.kind not in PATTERNS:
            raise ValueError(f"unknown pattern {self.kind!r} (allowed: {', '.join(PATTERNS)})")
        head = [float(PATTERNS.index(self.kind)), self.frequency, *self.direction, self.phase, self.sharpness]
        return [*head, *self.colour_a, *self.colour_b]


@dataclass(frozen=True)
class SolidPatterns:
    """One pattern per part: `table` (P, 13) of `Pattern.values`, `part` (F,) the row of each face."""

    table: Float32
    part: Int32

    def colours(self, faces: Int32, u: Float32, v: Float32, points: Float32) -> Float32:
        """See `Appearance.colours`."""
        output = np.empty((len(faces), 3), np.float32)
        _solid_colours(self.table, self.part, faces, points, output)
        return output

    def select(self, face: Int64, corner: Int64) -> "SolidPatterns":
        """See `Appearance.select`."""
        return SolidPatterns(self.table, np.ascontiguousarray(self.part[face[:, 0]]))


@dataclass(frozen=True)
class CornerColours:
    """Colours given at the three corners of each face: (F, 3, 3) in [0, 1], mixed linearly."""

    corners: Float32

    def colours(self, faces: Int32, u: Float32, v: Float32, points: Float32) -> Float32:
        """See `Appearance.colours`."""
        corner = self.corners[faces]
        weights = np.stack([1 - u - v, u, v], axis=-1)[:, :, None]
        mixed: Float32 = np.clip((corner * weights).sum(axis=1), 0, 1).astype(np.float32)
        return mixed

    def select(self, face: Int64, corner: Int64) -> "CornerColours":
        """See `Appearance.select`."""
        return CornerColours(np.ascontiguousarray(self.corners[face, corner]))


@dataclass(frozen=True)
class TextureImage:
    """A picture (H, W, 3) uint8 looked up bilinearly at corner coordinates (F, 3, 2); v = 0 is the bottom row."""

    image: NDArray[np.uint8]
    corners: Float32

    def colours(self, faces: Int32, u: Float32, v: Float32, points: Float32) -> Float32:
        """See `Appearance.colours`."""
        output = np.empty((len(faces), 3), np.float32)
        _texture_colours(self.image, self.corners, faces, u, v, output)
        return output

    def select(self, face: Int64, corner: Int64) -> "TextureImage":
        """See `Appearance.select`."""
        return TextureImage(self.image, np.ascontiguousarray(self.corners[face, corner]))


def solid_patterns(patterns: list[Pattern], part: NDArray[Any]) -> SolidPatterns:
    """Gather the patterns of all parts; `part` names the pattern of each face."""
    table = np.array([pattern.values() for pattern in patterns], np.float32).reshape(-1, NUM_PATTERN_VALUES)
    return SolidPatterns(table, np.ascontiguousarray(part, dtype=np.int32))


@compiled
def _lattice(x: int, y: int, z: int) -> float:
    """A fixed pseudo-random number in [0, 1] for a point of the integer lattice."""
    mixed = np.uint32(x) * np.uint32(73856093) ^ np.uint32(y) * np.uint32(19349663) ^ np.uint32(z) * np.uint32(83492791)
    mixed = np.uint32(mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x45D9F3B)
    mixed = np.uint32(mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x45D9F3B)
    return float((mixed >> np.uint32(8)) & np.uint32(0xFFFF)) / 65535.0


@compiled
def value_noise(x: float, y: float, z: float) -> float:
    """Smooth noise in [0, 1] with one feature per unit length: a lattice of random values, smoothly interpolated."""
    floor_x, floor_y, floor_z = np.floor(x), np.floor(y), np.floor(z)
    fx, fy, fz = x - floor_x, y - floor_y, z - floor_z
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    ix, iy, iz = int(floor_x), int(floor_y), int(floor_z)
    total = 0.0
    for dx in range(2):
        weight_x = fx if dx else 1 - fx
        for dy in range(2):
            weight_xy = weight_x * (fy if dy else 1 - fy)
            near, far = _lattice(ix + dx, iy + dy, iz), _lattice(ix + dx, iy + dy, iz + 1)
            total += weight_xy * (near + (far - near) * fz)
    return total


@compiled
def _pattern_weight(row: Float32, x: float, y: float, z: float) -> float:
    """The share of colour b at a point: 0 to 1."""
    kind, frequency, phase, sharpness = int(row[0]), row[1], row[5], row[6]
    if kind == 0:
        return 0.0
    if kind == 3:
        shift = 17.0 * phase
        noise = value_noise(x * frequency + shift, y * frequency, z * frequency)
        fine = value_noise(x * frequency * 2.1, y * frequency * 2.1 + shift, z * frequency * 2.1)
        wave = 2.0 * (0.7 * noise + 0.3 * fine) - 1.0
    else:
        turn = 2 * np.pi * frequency
        if kind == 1:
            wave = np.sin(turn * x + phase) * np.sin(turn * y + 1.3 * phase) * np.sin(turn * z + 0.7 * phase)
        elif kind == 2:
            wave = np.sin(turn * (row[2] * x + row[3] * y + row[4] * z) + phase)
        else:
            wave = np.sin(turn * np.sqrt(x * x + y * y) + phase)
    return float(min(max(0.5 + sharpness * wave, 0.0), 1.0))


@compiled
def _solid_colours(table: Float32, part: Int32, faces: Int32, points: Float32, output: Float32) -> None:
    for n in range(len(faces)):
        row = table[part[faces[n]]]
        weight = np.float32(_pattern_weight(row, points[n, 0], points[n, 1], points[n, 2]))
        for channel in range(3):
            output[n, channel] = row[7 + channel] + (row[10 + channel] - row[7 + channel]) * weight


@compiled
def _texture_colours(
    image: NDArray[np.uint8], corners: Float32, faces: Int32, u: Float32, v: Float32, output: Float32
) -> None:
    height, width = image.shape[0], image.shape[1]
    for n in range(len(faces)):
        corner = corners[faces[n]]
        first = np.float32(1) - u[n] - v[n]
        s = first * corner[0, 0] + u[n] * corner[1, 0] + v[n] * corner[2, 0]
        t = first * corner[0, 1] + u[n] * corner[1, 1] + v[n] * corner[2, 1]
        # Coordinates outside [0, 1) repeat the picture, as renderers do.
        column = (s - np.floor(s)) * width - 0.5
        row = (1.0 - (t - np.floor(t))) * height - 0.5
        left, top = np.floor(column), np.floor(row)
        right_weight, bottom_weight = column - left, row - top
        x0, y0 = int(left) % width, int(top) % height
        x1, y1 = (x0 + 1) % width, (y0 + 1) % height
        for channel in range(3):
            upper = image[y0, x0, channel] * (1 - right_weight) + image[y0, x1, channel] * right_weight
            lower = image[y1, x0, channel] * (1 - right_weight) + image[y1, x1, channel] * right_weight
            output[n, channel] = (upper * (1 - bottom_weight) + lower * bottom_weight) / 255.0
