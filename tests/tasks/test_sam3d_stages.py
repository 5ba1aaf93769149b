"""Stages 0 and 2 around a SAM-3D-shaped model: what trains, what stays, what is reported, and that it learns."""

import pytest
import torch
from sam3d_small import MICRO, QUICK, made_model, randomise
from torch import Tensor

from eventsam.models.embedder import ImageEmbedder
from eventsam.models.sam3d.fusing import Fusing
from eventsam.models.sam3d.latents import SHAPE_ONLY
from eventsam.models.sam3d.rgb_embedder import rgb_embedder_of
from eventsam.models.sam3d.vae import OccupancyVae
from eventsam.objectives.generation import Direct, FlowMatching, ShortcutMatching
from eventsam.optim import AdamW
from eventsam.tasks.compare import Comparable
from eventsam.tasks.sam3d_fuse import FuseLatents
from eventsam.tasks.sam3d_generate import GenerateOccupancy
from eventsam.tasks.sam3d_inputs import Shown
from eventsam.tasks.task import Task

LOSSES = (Direct(num_steps=2), FlowMatching(), ShortcutMatching())


def made_batch(size: int = 40) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)

    def image() -> Tensor:
        return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=rng)

    mask = torch.zeros(2, 1, size, size, dtype=torch.uint8)
    mask[:, :, 8:20, 10:25] = 1
    samples = {name: image() for name in ("rgb", "rgb_blurry", "rgb_edi", "event_image")}
    return samples | {
        "mask": mask,
        "mask_blurry": mask.clone(),
        "occupancy": torch.rand(2, *[MICRO.resolution] * 3, generator=rng) > 0.7,
        "sample_index": torch.tensor([3, 4]),
        "position": torch.tensor([12, 13]),
    }


def generating(**choices) -> GenerateOccupancy:
    torch.manual_seed(0)
    task = GenerateOccupancy(
        made_model(event_channels=None), OccupancyVae(MICRO), sampling=QUICK, **{"silhouette_weight": 0.5} | choices
    )
    return task


def event_embedder() -> ImageEmbedder:
    embedder = rgb_embedder_of(made_model(event_channels=None).embedder).student(3)
    return randomise(embedder, 5, 0.3)  # type: ignore[return-value]


def fusing(**choices) -> FuseLatents:
    model = made_model(event_channels=None)
    torch.manual_seed(0)
    return FuseLatents(model, event_embedder(), sampling=QUICK, **choices)


def moved(task: Task, samples: dict[str, Tensor], steps: int = 2) -> set[str]:
    """Train for some steps and return the names of what changed."""
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    optimizer = AdamW(learning_rate=0.01).create(task, torch.device("cpu"))
    task.train()
    for _ in range(steps):
        optimizer.zero_grad()
        task(samples)["loss"].backward()
        optimizer.step()
    return {name for name, tensor in task.state_dict().items() if not torch.equal(before[name], tensor)}


def test_stage_0_trains_embedder_and_generator_and_leaves_the_latent_space() -> None:
    changed = moved(generating(), made_batch())
    assert {name.split(".")[0] for name in changed} == {"model", "silhouette"}
    assert {name.split(".")[1] for name in changed if name.startswith("model")} == {"embedder", "generator"}


def test_stage_0_decodes_what_the_autoencoder_encodes() -> None:
    task, samples = generating(), made_batch()
    means = task.vae.encode(samples["occupancy"]).mean
    torch.testing.assert_close(task.model.decoder(means), task.vae.decode(means))


def test_a_step_draws_the_same_wherever_the_run_was_resumed() -> None:
    task, samples = generating().eval(), made_batch()
    first = task(samples)["loss"]
    torch.manual_seed(123)
    assert torch.equal(task(samples)["loss"], first)
    assert not torch.equal(task(samples | {"position": samples["position"] + 2})["loss"], first)


@pytest.mark.slow
def test_stage_0_learns_two_objects() -> None:
    task, samples = generating(objective=ShortcutMatching(weights=SHAPE_ONLY)), made_batch()
    task.train()
    optimizer = AdamW(learning_rate=3e-3).create(task, torch.device("cpu"))
    losses = []
    for step in range(150):
        optimizer.zero_grad()
        loss = task(samples | {"position": samples["position"] + 2 * step})["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])


@pytest.mark.parametrize("objective", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("place", ["tokens", "encoder", "generator"])
def test_stage_2_trains_the_fusion_alone(objective: object, place: str) -> None:
    task = fusing(objective=objective, fusing=Fusing("flamingo", place, num_heads=2))  # type: ignore[arg-type]
    changed = moved(task, made_batch())
    assert changed and all(name.startswith("model.fusion.") for name in changed)
    assert all(name.startswith("model.fusion.") for name in task.trained_state())


@pytest.mark.parametrize("place", ["tokens", "encoder", "generator"])
def test_a_fresh_fusion_predicts_what_rgb_does(place: str) -> None:
    task, samples = fusing(fusing=Fusing("flamingo", place, num_heads=2)).eval(), made_batch()  # type: ignore[arg-type]
    assert isinstance(task, Comparable)
    with torch.no_grad():
        alone = task.predict_rgb(samples, "rgb_blurry")
        assert torch.equal(task.predict(samples), alone)
        randomise(task.model.fusion, 7, 0.5)  # type: ignore[arg-type]
        assert not torch.equal(task.predict(samples), alone)
        assert torch.equal(task.predict_rgb(samples, "rgb_blurry"), alone)
        assert not torch.equal(task.predict_events(samples), alone)


def test_a_window_without_events_falls_back_to_rgb_but_for_a_control() -> None:
    samples = made_batch()
    samples["event_image"] = torch.zeros_like(samples["event_image"])
    for counts in (False, True):
        task = fusing(shown=Shown(blank_counts=counts)).eval()
        randomise(task.model.fusion, 7, 0.5)  # type: ignore[arg-type]
        with torch.no_grad():
            assert torch.equal(task.predict(samples), task.predict_rgb(samples, "rgb_blurry")) is not counts


def test_a_sample_is_the_same_in_any_batch() -> None:
    task, samples = fusing().eval(), made_batch()
    second = {name: value[1:] for name, value in samples.items()}
    with torch.no_grad():
        torch.testing.assert_close(task.predict(samples)[1:], task.predict(second), rtol=1e-4, atol=1e-5)


def test_stored_targets_are_what_the_teacher_says() -> None:
    samples = made_batch()
    online, stored = fusing().eval(), fusing(target="stored").eval()
    taught = online._target(samples)
    pose = torch.cat([taught.latents[name][:, 0] for name in list(taught.latents)[1:]], dim=1)
    kept = {"target_shape": taught.latents["shape"], "target_pose": pose, "target_occupancy": taught.occupancy}
    assert set(kept) <= set(stored.reads) and "rgb" not in stored.reads
    torch.testing.assert_close(stored(samples | kept)["loss"], online(samples)["loss"])


def test_joined_stage_1_lets_the_event_entry_learn_and_nothing_else_of_the_embedder() -> None:
    changed = moved(fusing(stage_1_weight=1.0), made_batch())
    entries = {name for name in changed if not name.startswith("model.fusion.")}
    assert entries
    assert all(".module_list.3." in name or ".projection_nets.3." in name for name in entries)
    with pytest.raises(ValueError, match="stage_1_weight"):
        fusing(stage_1_weight=-1.0)


def test_validation_reports_the_training_loss_beside_the_shape_metrics() -> None:
    task, samples = fusing().eval(), made_batch()
    told = {name: state.mean() for name, state in task.evaluate(samples).items()}
    assert {"loss", "viou"} <= set(told)
    with torch.no_grad():
        again = task._losses(samples, torch.Generator().manual_seed(3))["loss"]
    assert told["loss"] == pytest.approx(float(again), rel=1e-5)


def test_an_empty_mask_is_told_by_its_sample() -> None:
    samples = made_batch()
    samples["mask_blurry"][1] = 0
    with pytest.raises(ValueError, match="sample 4"):
        fusing()(samples)


def test_direct_needs_a_step() -> None:
    with pytest.raises(ValueError, match="num_steps"):
        Direct(num_steps=0)


def test_what_is_shown_is_a_known_choice() -> None:
    with pytest.raises(ValueError, match="did you mean 'mask_blurry'"):
        Shown(mask="mask_blury")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="did you mean 'box'"):
        Shown(prompt="boxx")  # type: ignore[arg-type]
