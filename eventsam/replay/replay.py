"""A bundle in, an answer out: did the step fail again, where did it fail first, and on which samples."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor

from eventsam.faults.bundle import Bundle, Share
from eventsam.faults.flight import digest
from eventsam.loading import Loader
from eventsam.quarantine import SampleError
from eventsam.recipe import Recipe
from eventsam.replay.examine import Findings, all_finite, examine
from eventsam.replay.walk import walk

log = logging.getLogger(__name__)

SAME_NORM = 0.05
"""How far, relatively, an explosion's norm may lie from the recorded one: another device sums in another order."""


@dataclass(frozen=True)
class Replay:
    """What a step did when it was computed again.

    `data_as_then` says whether the samples read now are those of the run (None: not compared). `bad_weights` are the
    trained tensors that were not finite before the step, and `bad_since` the step whose update made them so, where the
    steps before could be trained again.
    """

    bundle: Bundle
    findings: Findings
    data_as_then: bool | None
    bad_weights: tuple[str, ...]
    bad_since: int | None
    reproduced: bool


def replay(bundle: Bundle, build_recipe: Callable[[], Recipe], loader: Loader | None) -> Replay:
    """Compute a bundle's step again.

    Args:
        build_recipe: seeds and builds the bundle's recipe, as the run's workers did.
        loader: the run's training samples, where they are at hand; else the batch kept in the bundle is all there is.

    Raises:
        ValueError: the bundle lacks the batch or the weights, and the samples that would replace them are not at hand.
    """
    recipe = build_recipe()
    compared: list[bool] = []
    batches = [_batch_of(bundle, share, loader, compared) for share in bundle.shares]
    if bundle.weights is not None:
        recipe.task.load_state_dict(safetensors.torch.load_file(bundle.weights), strict=False)
    elif loader is not None:
        recipe = build_recipe()  # the random state right after it, too
        walk(bundle, recipe, loader)
    elif bundle.step:
        raise ValueError(f"{bundle.folder} keeps no weights of step {bundle.step}: give the catalog to train up to it")
    bad = tuple(name for name, tensor in recipe.task.trained_state().items() if not all_finite(tensor))
    findings = examine(recipe, bundle.shares, batches)
    since = walk(bundle, build_recipe(), loader) if bad and loader is not None else None
    same = all(compared) if compared else None
    return Replay(bundle, findings, same, bad, since, _reproduced(bundle, findings))


def _batch_of(bundle: Bundle, share: Share, loader: Loader | None, compared: list[bool]) -> Mapping[str, Tensor]:
    """A worker's share of the batch: as the bundle keeps it, else read by the rows and places of its samples."""
    read: dict[str, Tensor] = {}
    if loader is not None:
        try:
            read = _read(share, loader)
        except SampleError as error:
            log.warning("%s", error)
        compared.append(digest(read) == share.batch_hash)
    if not share.batch and not read:
        raise ValueError(f"{bundle.folder} does not keep the batch, which was large: give the catalog to read it again")
    return share.batch or read


def _read(share: Share, loader: Loader) -> dict[str, Tensor]:
    pairs = zip(share.sample_index, share.positions, strict=True)
    samples = [loader.sample(row, position) for row, position in pairs]
    return {key: torch.stack([torch.as_tensor(sample[key]) for sample in samples]) for key in samples[0]}


def _reproduced(bundle: Bundle, findings: Findings) -> bool:
    """Whether the step failed again in the way in which it failed then."""
    if bundle.kind == "error":
        return findings.error is not None and findings.error.split(":")[0] in bundle.message
    if findings.error is not None:
        return False
    finite = math.isfinite(findings.losses["loss"]) and math.isfinite(findings.gradient_norm)
    if bundle.kind == "nonfinite":
        return not finite
    recorded = bundle.shares[0].numbers.get("gradient_norm", math.nan)
    near = abs(findings.gradient_norm - recorded) <= SAME_NORM * recorded
    return bundle.kind == "explosion" and finite and near
