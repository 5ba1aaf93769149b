"""Failure bundles and their replay: NaN at a known sample, an exploded gradient, an error, weights that went bad."""

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from damaged_shards import damage_image
from tests_support import render_small, small_recipe

from datasets_catalog.synthetic import DATASET
from eventsam.catalog import open_catalog
from eventsam.checkpoint import LocalStorage
from eventsam.engine import LocalRun, fit
from eventsam.faults.bundle import newest_bundle, read_bundle
from eventsam.faults.step_watch import StepWatch, Watching
from eventsam.faults.write_bundle import Scene
from eventsam.loading import Loader, make_loader
from eventsam.quarantine import Quarantine
from eventsam.recipe import Recipe
from eventsam.replay.replay import Replay, replay
from eventsam.spec import Spec, build, replace

Spoil = Any


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("replay"), 4)


def built(recipe: Spec) -> Recipe:
    torch.manual_seed(0)
    made: Recipe = build(recipe)
    return made


def samples_of(recipe: Spec, root: Path) -> Loader:
    parts = built(recipe)
    return make_loader(DATASET, open_catalog(DATASET, root), parts.data, parts.task.reads, seed=0, training=True)


def fail(recipe: Spec, root: Path, run: Path, spoil: Spoil = None) -> Path:
    """Train until the run fails, as a worker does, and return the bundle."""
    parts, folder = built(recipe), run / "checkpoints"
    quarantine = Quarantine(run, parts.data.max_bad_share)
    loader = dataclasses.replace(samples_of(recipe, root), quarantine=quarantine)
    scene = Scene(run, recipe, loader.catalog.hash, 0, 1, LocalStorage(folder))

    def identify(batch: Mapping[str, Any]) -> list[str]:
        return [loader.catalog.row(int(row))["sample_id"] for row in batch["sample_index"]]

    def batches(position: int) -> Iterator[Mapping[str, Any]]:
        while True:
            batch = loader.batch(np.arange(position, position + 12, dtype=np.int64))
            yield spoil(position // 12, batch) if spoil else batch
            position += 12

    watch = StepWatch(scene, Watching(hang_minutes=0), identify, parts.task)
    with pytest.raises(ValueError), watch:
        fit(
            parts.task, lambda position: watch.steps(position // 12, batches(position)),
            optimizer=parts.optimizer, budget=parts.budget, run=LocalRun(folder), folder=folder,
            recipe=recipe, catalog_hash=loader.catalog.hash, identify=identify,
        )  # fmt: skip
    bundle = newest_bundle(run)
    assert bundle is not None
    return bundle


def replayed(folder: Path, recipe: Spec, loader: Loader | None) -> Replay:
    return replay(read_bundle(folder), lambda: built(recipe), loader)


def spoilt_occupancy(step: int, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At step 4, one sample has a target that is no number."""
    if step == 4:
        batch["occupancy"] = batch["occupancy"].astype(np.float32)
        batch["occupancy"][7] = np.nan
    return batch


def test_nan_of_one_sample_is_found_again(root: Path, tmp_path: Path) -> None:
    recipe = small_recipe("reconstruct", root)
    folder = fail(recipe, root, tmp_path / "run", spoilt_occupancy)
    assert folder.name == "step_000000004_nonfinite"
    result = replayed(folder, recipe, None)
    assert result.reproduced
    bad = [name for name, loss in result.findings.samples.items() if not math.isfinite(loss)]
    assert bad == [read_bundle(folder).shares[0].sample_ids[7]]
    assert result.findings.first_bad is None or "NaN" in result.findings.first_bad
    assert result.bad_weights == ()
    # The catalog of today does not hold what the run was given: said, not hidden.
    assert replayed(folder, recipe, samples_of(recipe, root)).data_as_then is False


def test_a_bundle_holds_json_and_safetensors_and_nothing_else(root: Path, tmp_path: Path) -> None:
    folder = fail(small_recipe("reconstruct", root), root, tmp_path / "run", spoilt_occupancy)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {path.rpartition(".")[2] for path in names} == {"json", "safetensors", "txt"}
    record = json.loads((folder / "bundle.json").read_text())
    assert record["recipe"]["call"] == "eventsam.recipe:Recipe"
    assert {"torch", "python"} <= record["environment"].keys()
    assert (folder / "checkpoint" / "step_000000003" / "state.json").exists()
    assert "test_replay.py" in (folder / "rank_0.stacks.txt").read_text()
    assert newest_bundle(tmp_path / "run") == folder


def test_weights_that_went_bad_are_traced_to_their_step(root: Path, tmp_path: Path) -> None:
    recipe = replace(small_recipe("reconstruct", root), "optimizer.learning_rate", float("inf"))
    folder = fail(recipe, root, tmp_path / "run")
    result = replayed(folder, recipe, samples_of(recipe, root))
    assert result.reproduced
    assert result.data_as_then is True
    assert result.bad_weights
    assert result.bad_since == 0
    assert result.findings.first_bad is not None


def test_an_exploded_gradient_has_the_same_norm_again(root: Path, tmp_path: Path) -> None:
    recipe = replace(small_recipe("reconstruct", root), "optimizer.explosion_ratio", 1.001)
    recipe = replace(replace(recipe, "optimizer.clip_norm", 1e-6), "budget.num_samples", 12 * 60)
    folder = fail(recipe, root, tmp_path / "run")
    assert folder.name.endswith("_explosion")
    result = replayed(folder, recipe, samples_of(recipe, root))
    assert result.reproduced
    recorded = read_bundle(folder).shares[0].numbers["gradient_norm"]
    assert result.findings.gradient_norm == pytest.approx(recorded, rel=1e-4)
    assert set(result.findings.gradient_norms) > {"model.encoder"}


def test_the_walk_fills_bad_samples_places_as_the_run_did(root: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(root, damaged)
    for shard in damaged.rglob("*.h5"):
        damage_image(shard, 0, 0)
    recipe = replace(small_recipe("reconstruct", damaged), "optimizer.learning_rate", float("inf"))
    recipe = replace(recipe, "data.max_bad_share", 0.9)
    folder = fail(recipe, damaged, tmp_path / "run")
    assert (folder / "quarantine").exists()
    before = sorted(path.name for path in folder.rglob("*"))
    result = replayed(folder, recipe, samples_of(recipe, damaged))
    assert result.reproduced and result.data_as_then
    assert result.bad_since == 0
    assert sorted(path.name for path in folder.rglob("*")) == before


def wrong_shape(step: int, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**batch, "occupancy": batch["occupancy"][:, :4]} if step == 5 else batch


def test_an_error_in_the_step_is_raised_again_and_without_weights_the_steps_are_walked(
    root: Path, tmp_path: Path
) -> None:
    recipe = small_recipe("reconstruct", root)
    folder = fail(recipe, root, tmp_path / "run", wrong_shape)
    result = replayed(folder, recipe, None)
    assert result.reproduced
    assert result.findings.error is not None
    whole = replayed(folder, recipe, None)
    # As a bundle of a hang: no weights. From the checkpoint, or from the first step where there is none.
    (folder / "weights.safetensors").unlink()
    walked = replayed(folder, recipe, samples_of(recipe, root))
    shutil.rmtree(folder / "checkpoint")
    from_the_start = replayed(folder, recipe, samples_of(recipe, root))
    assert whole.reproduced and walked.reproduced and from_the_start.reproduced
    with pytest.raises(ValueError, match="keeps no weights of step 5"):
        replayed(folder, recipe, None)


def test_a_step_that_does_not_fail_again_is_said_not_to(root: Path, tmp_path: Path) -> None:
    recipe = small_recipe("reconstruct", root)
    folder = fail(recipe, root, tmp_path / "run", spoilt_occupancy)
    # The batch was too large to keep, and what the catalog holds is in order.
    file = folder / "rank_0.safetensors"
    tensors = safetensors.torch.load_file(file)
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith("random/")}
    safetensors.torch.save_file(kept, file)
    assert not replayed(folder, recipe, samples_of(recipe, root)).reproduced
    with pytest.raises(ValueError, match="does not keep the batch"):
        replayed(folder, recipe, None)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no failure bundle"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text('{"version": 9}')
    with pytest.raises(ValueError, match="version 9, this release reads 1"):
        read_bundle(tmp_path)
