"""The steps before a failing one, trained again as one worker: from its checkpoint, or from the run's first step."""

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventsam.engine import LocalRun, NonFiniteLossError, fit
from eventsam.faults.bundle import Bundle
from eventsam.loading import Loader
from eventsam.quarantine import FOLDER as QUARANTINE
from eventsam.quarantine import Quarantine
from eventsam.recipe import Recipe
from eventsam.replay.examine import all_finite

log = logging.getLogger(__name__)


class _ArrivedError(Exception):
    """Unwinds the fit: there is nothing more to walk."""


@dataclass
class _FromBundle(LocalRun):
    """Starts at the bundle's checkpoint, or afresh."""

    start: Path | None = None

    def restore(self) -> Path | None:
        """Return the bundle's checkpoint."""
        return self.start


def walk(bundle: Bundle, recipe: Recipe, loader: Loader) -> int | None:
    """Train a freshly built recipe up to the bundle's step; its task then holds the weights before that step.

    Returns the step whose update left weights that are not finite, where there is one: the walk ends there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        # The places of bad samples are filled as the run filled them; what is found now is no part of the bundle.
        if (bundle.folder / QUARANTINE).exists():
            shutil.copytree(bundle.folder / QUARANTINE, Path(scratch) / QUARANTINE)
        quarantine = Quarantine(Path(scratch), recipe.data.max_bad_share)
        return _walk(bundle, recipe, dataclasses.replace(loader, quarantine=quarantine), Path(scratch))


def _walk(bundle: Bundle, recipe: Recipe, loader: Loader, scratch: Path) -> int | None:
    size = recipe.budget.global_batch_size
    spoilt: list[int] = []

    def batches(position: int) -> Iterator[Mapping[str, Any]]:
        for step in range(position // size, bundle.step):
            yield loader.batch(np.arange(step * size, (step + 1) * size, dtype=np.int64))
            if not all_finite(recipe.task.trained_state()):
                spoilt.append(step)
                break
        raise _ArrivedError(f"step {bundle.step}")

    never = 2**62
    budget = dataclasses.replace(
        recipe.budget, validate_every=0, patience=0, checkpoint_every=never, checkpoint_minutes=0.0, log_every=never
    )
    try:
        fit(
            recipe.task, batches, optimizer=recipe.optimizer, budget=budget, run=_FromBundle(start=bundle.checkpoint),
            folder=scratch / "checkpoints", recipe=bundle.recipe, catalog_hash=bundle.catalog_hash,
        )  # fmt: skip
    except (_ArrivedError, NonFiniteLossError) as end:
        log.info("walked from %s to %s", bundle.checkpoint or "the first step", end)
    return spoilt[0] if spoilt else None
