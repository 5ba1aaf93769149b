"""Which parts of a model train: parameters chosen by patterns of their names; the rest is frozen and in eval mode."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn


def select_trainable(module: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Parameter]:
    """Let the parameters whose names fit a pattern train and freeze all others; return those that train, by name.

    A pattern is a glob for one or more whole parts of a dotted name, wherever they stand: `patch_embed` fits
    `encoder.vit.patch_embed.proj.weight`, `blocks.2.*mlp*` fits `encoder.vit.blocks.2.mlp.fc1.bias` and nothing of
    block 12 or 20.

    Raises:
        ValueError: a pattern fits no parameter; the nearest names are given.
    """
    parameters = dict(module.named_parameters())
    chosen: dict[str, nn.Parameter] = {}
    for pattern in patterns:
        fitting = {name: parameter for name, parameter in parameters.items() if fits(name, pattern)}
        if not fitting:
            nearest = ", ".join(map(repr, _nearest(pattern, parameters)))
            raise ValueError(f"pattern {pattern!r} fits no parameter of {type(module).__name__}; nearest: {nearest}")
        chosen |= fitting
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in chosen)
    return chosen


def fits(name: str, pattern: str) -> bool:
    """Say whether a glob fits one or more whole parts of a dotted name."""
    # The dots around both hold the pattern to the parts' ends.
    return fnmatchcase(f".{name}.", f"*.{pattern}.*")


def set_modes(module: nn.Module, mode: bool, inherited: bool = False) -> None:
    """Set the train mode of those parts all of whose parameters train; everything else goes into eval mode.

    A part without parameters, such as a dropout, follows what it stands in (`inherited`). `nn.Module.train` would wake
    the dropouts of frozen parts as well.
    """
    trains = [parameter.requires_grad for parameter in module.parameters()]
    module.training = mode and (all(trains) if trains else inherited)
    for child in module.children():
        set_modes(child, mode, module.training)


def _nearest(pattern: str, names: Iterable[str]) -> list[str]:
    runs: set[str] = set()
    for name in names:
        parts = name.split(".")
        runs |= {".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}
    return get_close_matches(pattern, sorted(runs), n=3, cutoff=0.0)
