"""Training the occupancy autoencoder: it learns shapes, its latents come out standard, the scale is kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_support import render_small

from eventsam import checkpoint
from eventsam.engine import LocalRun, fit
from eventsam.models.sam3d.latent_scale import LatentScale
from eventsam.models.sam3d.presets import PRESETS
from eventsam.models.sam3d.vae import OccupancyVae, Posterior
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.objectives.occupancy_vae import OccupancyVaeLoss, kl_to_standard_normal
from eventsam.recipe import load_recipe
from eventsam.spec import replace
from eventsam.tasks.occupancy_vae import AutoencodeOccupancy
from eventsam.tasks.trained import trained_task
from ray_jobs.train import prepare


def test_the_divergence_is_torchs() -> None:
    mean, log_variance = torch.randn(2, 3, 8, 2, 2, 2)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_to_standard_normal(Posterior(mean, log_variance)), expected)


def test_the_loss_is_its_parts() -> None:
    objective = OccupancyVaeLoss(OccupancyLoss(gamma=0.0, dice_weight=0.0), kl_weight=0.1)
    target = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    target[0, 0, 0, :2] = True
    logits = torch.randn(1, 4, 4, 4)
    posterior = Posterior(torch.ones(1, 8, 1, 1, 1), torch.zeros(1, 8, 1, 1, 1))
    parts = objective.with_parts(logits, target, posterior)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    balanced = 0.5 * (entropy[target].mean() + entropy[~target].mean())
    torch.testing.assert_close(parts["loss"], balanced + 0.1 * 0.5)
    with pytest.raises(ValueError, match="kl_weight"):
        OccupancyVaeLoss(OccupancyLoss(), kl_weight=-1.0)


MICRO = dataclasses.replace(PRESETS["tiny"], grid=4, decoder_channels=(16, 8, 8), decoder_layers=1)


def blobs(count: int) -> torch.Tensor:
    """Balls and boxes of several places and sizes, (count, 16, 16, 16) bool."""
    rng = np.random.default_rng(0)
    axis = (np.arange(16) + 0.5) / 16 - 0.5
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    shapes = []
    for index in range(count):
        offsets = np.abs(cells - rng.uniform(-0.15, 0.15, 3)) / rng.uniform(0.15, 0.3, 3)
        norm = np.linalg.norm(offsets, axis=-1) if index % 2 else offsets.max(axis=-1)
        shapes.append(norm < 1)
    return torch.from_numpy(np.stack(shapes))


def test_it_learns_shapes_and_its_latents_come_out_standard() -> None:
    torch.manual_seed(0)
    task = AutoencodeOccupancy(OccupancyVae(MICRO), OccupancyVaeLoss(OccupancyLoss(gamma=0.0))).train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=5e-3)
    shapes = blobs(80)
    for step in range(60):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 60)
        task({"occupancy": shapes[(4 * step) % 64 :][:4]})["loss"].backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    held_out = {"occupancy": shapes[64:], "sample_index": torch.arange(16)}
    with torch.no_grad():
        metrics = {name: state.mean() for name, state in task.eval().evaluate(held_out).items()}
    assert metrics["viou"] > 0.6
    assert abs(metrics["latent_mean"]) < 0.2 and 0.8 < metrics["latent_square"] < 1.25
    assert task.gauges()["latent_scale/std"] > 0


def test_the_recipe_trains_validates_and_its_checkpoint_holds_the_scale(tmp_path: Path) -> None:
    root = render_small(tmp_path / "catalog", 4)
    recipe = load_recipe("occupancy_vae")
    for path, value in {"data.root": str(root), "budget.num_samples": 4, "budget.global_batch_size": 2}.items():
        recipe = replace(recipe, path, value)
    stated, built, training, validation = prepare(recipe)
    assert sorted(training.batch(np.arange(2))) == ["occupancy", "position", "sample_index"]

    def batches(position: int):
        return (training.batch(np.arange(start, start + 2)) for start in range(position, 4, 2))

    summary = fit(
        built.task, batches, optimizer=built.optimizer, budget=built.budget, run=LocalRun(), folder=tmp_path / "run",
        recipe=stated, validation=lambda: [validation.batch(np.arange(2))], monitor=built.monitor,
    )  # fmt: skip
    assert summary.status == "finished" and {"viou", "latent_mean", "latent_square"} <= set(summary.metrics)
    again = trained_task(checkpoint.chosen(tmp_path / "run"))
    assert isinstance(again.model.latent_scale, LatentScale)
    assert torch.equal(again.model.latent_scale.std, built.task.model.latent_scale.std)
    assert not torch.equal(again.model.latent_scale.std, torch.ones(8))
