"""How given weights differ from those that a model expects: missing, unexpected, misshapen, with the nearest names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from torch import Tensor

NEAREST_LIMIT = 20
"""So many unexpected names get their nearest match: to compare thousands with thousands would take minutes."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Faults:
    """Names that are missing, that are not expected, and those of another shape, which is told."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def summary(self, limit: int = 6) -> str:
        """Return one line with the number and the first names of each kind."""
        return "; ".join(
            f"{len(names)} {kind}: {', '.join(names[:limit])}" + (", ..." if len(names) > limit else "")
            for kind, names in self._kinds()
            if names
        )

    def lines(self) -> list[str]:
        """Return a line for every name."""
        return [f"{kind}: {name}" for kind, names in self._kinds() for name in names]

    def _kinds(self) -> list[tuple[str, Sequence[str]]]:
        near = [_with_nearest(name, self.missing) for name in self.unexpected[:NEAREST_LIMIT]]
        unexpected = (*near, *self.unexpected[NEAREST_LIMIT:])
        return [("missing", self.missing), ("unexpected", unexpected), ("misshapen", self.misshapen)]


def compare(given: Shapes, expected: Shapes) -> Faults:
    """Return how the shapes of given weights differ from the expected ones.

    A position may have a batch axis of 1 or none, which is the same to the module that loads it.
    """
    return Faults(
        tuple(sorted(expected.keys() - given.keys())),
        tuple(sorted(given.keys() - expected.keys())),
        tuple(
            f"{name} {given[name]}, expected {expected[name]}"
            for name in sorted(expected.keys() & given.keys())
            if not same_shape(name, given[name], expected[name])
        ),
    )


def same_shape(name: str, given: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Say whether a weight fits: the shapes are equal, for a latent's position but for leading axes of 1."""
    if name.endswith(".pos_emb"):
        return _without_leading_ones(given) == _without_leading_ones(expected)
    return given == expected


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a state."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _with_nearest(name: str, missing: Sequence[str]) -> str:
    nearest = get_close_matches(name, missing, n=1)
    return f"{name} (nearest missing: {nearest[0]})" if nearest else name


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    first = next((axis for axis, size in enumerate(shape) if size != 1), len(shape))
    return shape[first:]
