"""The stage-1 recipes at the paper's scale: what they state, what they cost, and that they run when cut to size."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import render_small
from torch.utils.flop_counter import FlopCounterMode

from eventsam.engine import LocalRun, fit
from eventsam.models.embedder import ImageEmbedder
from eventsam.models.projection import Projection
from eventsam.models.sam3d.condition import ConditionEmbedder
from eventsam.models.sam3d.folder import write_model
from eventsam.models.sam3d.presets import PRESETS
from eventsam.models.vit import ImageEncoder
from eventsam.recipe import Recipe, load_recipe
from eventsam.recipes import distill_sam3d
from eventsam.spec import Spec, build, get, replace
from eventsam.tasks.distill import Distill
from ray_jobs.train import prepare

DATASETS = {
    "distill_mvsec": "mvsec",
    "distill_rgbe_seg": "rgbe_seg",
    "distill_event_replica": "event_replica",
    "distill_co3d": "co3d_v2e",
    "distill_objaverse": "objaverse_v2e",
}
TINY = PRESETS["tiny"]
PEAKS = {"H100": 989e12, "A100": 312e12}


def stated_cost(module: str) -> str:
    text = importlib.import_module(f"eventsam.recipes.{module}").__doc__ or ""
    return " ".join(text.split("EXPECTED COST")[1].split())


def hours(flops_per_sample: float, num_samples: int, gpu: str) -> float:
    return flops_per_sample * num_samples / (0.4 * PEAKS[gpu]) / 3600


@pytest.fixture(scope="module")
def flops_per_sample() -> float:
    """Forward and backward of one sample at the released sizes, counted without computing anything."""
    stated = load_recipe("distill_sam3d")
    objective, views = build(get(stated, "task.objective")), get(stated, "task.views")
    with torch.device("meta"):
        encoder = ImageEncoder("vit_large_patch14_reg4_dinov2", 518)
        # One view of several: they cost the same.
        task = Distill(ImageEmbedder(encoder, Projection(1024, 1024)), objective, get(stated, "task.blocks"))
        batch = {key: torch.zeros(1, 3, 518, 518, dtype=torch.uint8) for key in task.reads}
        counter = FlopCounterMode(display=False)
        with counter:
            task(batch)["loss"].backward()
    return float(counter.get_total_flops()) * len(views)


def test_the_expected_cost_is_the_counted_one(flops_per_sample: float) -> None:
    text = stated_cost("distill_sam3d")
    assert f"{flops_per_sample / 1e12:.1f} TFLOP per sample" in text
    frames = 10_000 * distill_sam3d.NUM_EPOCHS
    assert f"{hours(flops_per_sample, frames, 'H100'):.1f} GPU-hours of H100" in text
    assert f"{hours(flops_per_sample, frames, 'A100'):.0f} of A100" in text


@pytest.mark.parametrize("name", DATASETS)
def test_each_datasets_recipe_states_its_cost(name: str, flops_per_sample: float) -> None:
    num_samples = get(load_recipe(name), "budget.num_samples")
    frames, h100, a100 = re.search(  # type: ignore[union-attr]
        r"200 epochs of (\d+) frames: (\d+) GPU-hours of H100 or (\d+) of A100", stated_cost(name)
    ).groups()
    assert num_samples == 200 * int(frames)
    assert round(hours(flops_per_sample, num_samples, "H100")) == int(h100)
    assert round(hours(flops_per_sample, num_samples, "A100")) == int(a100)


@pytest.mark.parametrize(("name", "dataset"), DATASETS.items())
def test_each_recipe_has_the_papers_scale_and_names_the_missing_dataset(name: str, dataset: str) -> None:
    recipe = load_recipe(name)
    stated = {path: get(recipe, path) for path in ("task.blocks", "optimizer.learning_rate", "optimizer.weight_decay",
              "optimizer.clip_norm", "budget.global_batch_size", "data.dataset", "task.views")}  # fmt: skip
    assert tuple(stated.values()) == ((2, 5, 8, 11, 14, 17, 20, 23), 5e-5, 0.0, 1.0, 4, dataset, ("crop", "full"))
    for part in ("data.window", "data.augment", "data.prepare", "optimizer", "budget", "monitor", "task.objective"):
        build(get(recipe, part))
    with pytest.raises(KeyError, match=rf"unknown dataset '{dataset}'.*datasets_catalog/{dataset}\.py"):
        prepare(recipe)


def cut_to_size(root: Path, checkpoint: Path) -> Spec:
    recipe: Spec = load_recipe("distill_sam3d")  # type: ignore[assignment]
    sizes = {f"data.prepare.{i}.{side}": 64 for i in (0, 2) for side in ("height", "width")}
    budget = {"budget.num_samples": 12, "budget.log_every": 1, "budget.validate_every": 0, "budget.patience": 0}
    named = {"data.dataset": "synthetic", "data.root": str(root), "task.blocks": (0, 2),
             "task.teacher.checkpoint": str(checkpoint), "data.window.length_ms": 10.0}  # fmt: skip
    for path, value in (sizes | budget | named).items():
        recipe = replace(recipe, path, value)
    return recipe


def test_the_recipe_trains_on_crop_and_full_view(tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_model(tmp_path / "converted", TINY, {"embedder": ConditionEmbedder(TINY).state_dict()})
    root = render_small(tmp_path / "catalog", 4)
    recipe, built, training, validation = prepare(cut_to_size(root, tmp_path / "converted"))
    assert isinstance(built, Recipe)
    run, size = LocalRun(), built.budget.global_batch_size
    summary = fit(
        built.task,
        lambda position: (training.batch(np.arange(p, p + size)) for p in range(position, 12, size)),
        optimizer=built.optimizer,
        budget=built.budget,
        run=run,
        folder=tmp_path / "run",
        recipe=recipe,
        validation=lambda: [validation.batch(np.arange(size))],
        monitor=built.monitor,
    )
    assert summary.status == "finished"
    terms = {f"l1/{view}/{place}" for view in ("crop", "full") for place in ("block_0", "block_2", "projected")}
    assert terms <= run.records[0].keys()
    assert {"cosine", "cosine/full", "cosine/full/block_2"} <= summary.metrics.keys()
