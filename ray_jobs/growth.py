"""What an autoscaled cluster can grow to: its nodes start when they are asked for, so they need not be there yet."""

import os
from collections.abc import Mapping

VARIABLE = "EVENTSAM_CLUSTER_GROWS_TO"
"""Set where the head is started, as in `CPU=320,GPU=16`: Ray keeps to itself what its autoscaler may add."""


def grows_to() -> dict[str, float]:
    """Return the resources of the cluster at its largest, as its head says; none where it says nothing.

    Raises:
        ValueError: the variable is not written NAME=NUMBER,NAME=NUMBER.
    """
    stated = os.environ.get(VARIABLE, "")
    try:
        pairs = (word.split("=") for word in stated.split(",") if word)
        return {name.strip(): float(number) for name, number in pairs}
    except ValueError:
        raise ValueError(f"{VARIABLE} is {stated!r}; write it as in CPU=320,GPU=16") from None


def within(need: float, name: str, have: Mapping[str, float]) -> bool:
    """Say whether a cluster that has `have` now holds `need` of a resource, at its largest if need be."""
    return need <= max(have.get(name, 0.0), grows_to().get(name, 0.0))


def shown(name: str, have: Mapping[str, float]) -> str:
    """Return what a cluster has of a resource, and what it can grow to, for people."""
    most = grows_to().get(name)
    return f"{have.get(name, 0.0):g}" + (f" and grows to {most:g}" if most is not None else "")
