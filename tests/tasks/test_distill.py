"""Stage 1: what trains, what stays, which terms are logged, and that the projection reaches stage 2."""

from pathlib import Path

import pytest
import torch
from sweep_support import untrained_run
from tests_support import render_small
from torch import Tensor, nn

from eventsam import checkpoint
from eventsam.models.embedder import ImageEmbedder
from eventsam.models.projection import Projection
from eventsam.models.vit import ImageEncoder
from eventsam.objectives.distillation import EventPatches, FeatureLoss, ObjectPatches, PivotalTokens, Structure
from eventsam.optim import AdamW
from eventsam.tasks.distill import Distill
from eventsam.tasks.task import Task
from eventsam.tasks.trained import resolve, trained_event_embedder, trained_rgb_embedder, trained_task

BOTH = ("crop", "full")
PAPER_BLOCKS = (2, 5, 8, 11, 14, 17, 20, 23)


def batch(channels: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def image(channels: int = 3) -> Tensor:
        return torch.randint(0, 256, (2, channels, 32, 32), dtype=torch.uint8, generator=generator)

    samples = {"rgb": image(), "rgb_full": image(), "event_image": image(channels), "event_image_full": image(channels)}
    samples["mask"] = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    samples["mask"][:, :, 8:20, 10:25] = 1
    samples["mask_full"] = samples["mask"].roll(8, dims=-1)
    samples["event_image"][:, :, :16] = 0
    return samples | {"sample_index": torch.arange(2)}


def teacher() -> ImageEmbedder:
    torch.manual_seed(0)
    encoder = ImageEncoder("micro", 32)
    return ImageEmbedder(encoder, Projection(encoder.width, encoder.width, 64))


def stepped(task: Task, samples: dict[str, Tensor], steps: int = 2) -> dict[str, Tensor]:
    """Return the state before and train for some steps."""
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    optimizer = AdamW(learning_rate=0.01).create(task, torch.device("cpu"))
    task.train()
    for _ in range(steps):
        task(samples)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    return before


def changed(task: Task, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in task.state_dict().items() if not torch.equal(tensor, before[name])}


def test_patches_mlps_and_projection_train_alone() -> None:
    task = Distill(teacher(), FeatureLoss(), (0, 2))
    before = stepped(task, batch())
    allowed = ("student.projection.", "student.encoder.vit.patch_embed.", "student.encoder.vit.blocks.0.mlp.",
               "student.encoder.vit.blocks.2.mlp.")  # fmt: skip
    names = changed(task, before)
    assert all(name.startswith(allowed) for name in names)
    assert all(any(name.startswith(prefix) for name in names) for prefix in allowed)


def test_other_patterns_train_other_parts() -> None:
    task = Distill(teacher(), FeatureLoss(), (1,), trainable=("blocks.{block}.norm?", "pos_embed"))
    names = changed(task, stepped(task, batch()))
    assert {name.removeprefix("student.encoder.vit.") for name in names} == {
        "blocks.1.norm1.weight", "blocks.1.norm1.bias", "blocks.1.norm2.weight", "blocks.1.norm2.bias", "pos_embed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("blocks", "total"), [((2, 5, 9, 14, 19, 22), 59_618_304), (PAPER_BLOCKS, 76_405_760), ((2,), 17_649_664)]
)
def test_the_released_sizes_train_as_many_parameters_as_the_seeds(blocks: tuple[int, ...], total: int) -> None:
    with torch.device("meta"):
        encoder = ImageEncoder("vit_large_patch14_reg4_dinov2", 518)
        task = Distill(ImageEmbedder(encoder, Projection(1024, 1024)), FeatureLoss(), blocks, views=BOTH)
    trained = {name: task.student.get_parameter(name).numel() for name in task.trained}
    assert trained.keys() == {name for name, p in task.student.named_parameters() if p.requires_grad}

    def count(part: str) -> int:
        return sum(number for name, number in trained.items() if part in name)

    assert count("patch_embed.") == 603_136
    assert {block: count(f"blocks.{block}.mlp.") for block in blocks} == dict.fromkeys(blocks, 8_393_728)
    assert count("projection.") == 8_652_800
    assert sum(trained.values()) == total


def test_the_projection_of_the_events_learns_in_both_views() -> None:
    task = Distill(teacher(), FeatureLoss(block_weight=0.0), (0, 2), views=BOTH)
    for view in BOTH:
        task.zero_grad()
        task(batch())[f"l1/{view}/projected"].backward()
        for parameter in task.student.projection.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in task.teacher.parameters())


def test_every_block_and_the_projection_of_every_view_are_terms_of_the_mean() -> None:
    task, samples = Distill(teacher(), FeatureLoss(block_weight=2.0), (0, 2), views=BOTH), batch()
    parts = task(samples)
    terms = {f"l1/{view}/{place}" for view in BOTH for place in ("block_0", "block_2", "projected")}
    assert set(parts) == {"loss"} | terms
    assert len(terms) == 2 * len(task.blocks) + 2
    # Block weight 2 for two blocks: the plain mean over all terms, times the three terms of a view.
    torch.testing.assert_close(parts["loss"], 3 * torch.stack([parts[name] for name in sorted(terms)]).mean())
    crop = Distill(task.teacher, task.objective, (0, 2))(samples)
    full = Distill(task.teacher, task.objective, (0, 2), views=("full",))(samples)
    torch.testing.assert_close(parts["loss"], (crop["loss"] + full["loss"]) / 2)
    assert crop["loss"] != full["loss"]


def test_a_second_view_has_metrics_of_its_own() -> None:
    task, samples = Distill(teacher(), FeatureLoss(), (2,), views=BOTH).eval(), batch()
    states = task.evaluate(samples)
    places = ("", "/block_2", "/full", "/full/block_2")
    assert set(states) == {f"{kind}{place}" for kind in ("l1", "cosine") for place in places}
    assert states["l1"].mean() != states["l1/full"].mean()
    # What is trained and what is reported agree.
    assert states["l1/block_2"].mean() == pytest.approx(task(samples)["l1/crop/block_2"].item(), rel=1e-5)


def test_the_task_reads_what_its_views_and_its_region_look_at() -> None:
    assert Distill(teacher(), FeatureLoss()).reads == ("rgb", "event_image")
    masked = Distill(teacher(), FeatureLoss(region=ObjectPatches()), views=BOTH)
    assert masked.reads == ("rgb", "event_image", "mask", "rgb_full", "event_image_full", "mask_full")
    assert Distill(teacher(), FeatureLoss(region=EventPatches())).reads == ("rgb", "event_image")


def test_each_view_is_masked_by_its_own_region() -> None:
    task, samples = Distill(teacher(), FeatureLoss(region=ObjectPatches()), (2,), views=BOTH), batch()
    parts = task(samples)
    swapped = task({**samples, "mask": samples["mask_full"], "mask_full": samples["mask"]})
    other = task({**samples, "mask_full": torch.ones_like(samples["mask"])})
    assert other["l1/crop/block_2"] == parts["l1/crop/block_2"] != swapped["l1/crop/block_2"]
    assert other["l1/full/block_2"] != parts["l1/full/block_2"]


def test_teacher_and_frozen_parts_never_train_or_drop() -> None:
    embedder = teacher()
    for block in embedder.encoder.blocks:
        block.attn.proj_drop = nn.Dropout(0.5)
    task = Distill(embedder, FeatureLoss(), (0, 2))
    for block in task.student.encoder.blocks:
        block.attn.proj_drop = nn.Dropout(0.5)
    samples = batch()
    evaluated = task.eval()(samples)["loss"]
    task.train()
    assert not any(part.training for part in task.teacher.modules())
    training = {name for name, part in task.student.named_modules() if part.training}
    assert {"projection", "encoder.vit.patch_embed", "encoder.vit.blocks.0.mlp"} <= training
    assert not any(name.endswith(("attn", "proj_drop", "blocks.1.mlp", "norm1")) for name in training)
    assert torch.equal(task(samples)["loss"], evaluated)


def test_the_student_starts_as_its_teacher() -> None:
    task, samples = Distill(teacher(), FeatureLoss(), (0, 2)).eval(), batch()
    assert task({**samples, "event_image": samples["rgb"]})["loss"].item() == 0.0


@pytest.mark.parametrize(
    "objective",
    [
        FeatureLoss(normalise="layer"),
        FeatureLoss(betas=(0.1, 1.0)),
        FeatureLoss(tokens=PivotalTokens()),
        FeatureLoss(region=ObjectPatches()),
        FeatureLoss(region=EventPatches()),
        FeatureLoss(structure=Structure(0.5), region=ObjectPatches(), tokens=PivotalTokens(), normalise="layer"),
    ],
)
def test_every_term_learns(objective: FeatureLoss) -> None:
    task, samples = Distill(teacher(), objective, (0, 2)), batch()
    first = task(samples)["loss"].item()
    stepped(task, samples, steps=15)
    assert task(samples)["loss"].item() < first


def test_event_images_of_other_channel_counts_are_taken() -> None:
    task = Distill(teacher(), FeatureLoss(region=EventPatches()), (2,), in_channels=5)
    assert torch.isfinite(task(batch(channels=5))["loss"])


def test_refusals() -> None:
    with pytest.raises(ValueError, match="pattern 'projektion' fits no parameter of ImageEmbedder; nearest: 'projecti"):
        Distill(teacher(), FeatureLoss(), trainable=("patch_embed", "projektion"))
    with pytest.raises(ValueError, match="unknown view 'whole'"):
        Distill(teacher(), FeatureLoss(), views=("whole",))
    with pytest.raises(ValueError, match="4 betas"):
        Distill(teacher(), FeatureLoss(betas=(0.1, 0.4, 0.7, 1.0)), (0, 2))
    with pytest.raises(ValueError, match=r"blocks \[3\] out of range"):
        Distill(teacher(), FeatureLoss(), (0, 3))


def test_stage_two_is_given_the_projection_that_stage_one_trained(tmp_path: Path) -> None:
    root = render_small(tmp_path / "catalog", 2)
    reconstructor = untrained_run("reconstruct", root, tmp_path / "teacher")
    folder = untrained_run("distill", root, tmp_path / "student", **{"task.teacher.checkpoint": str(reconstructor)})
    task = trained_task(folder)
    assert isinstance(task, Distill)
    names = {f"student.{name}" for name, _ in task.student.named_parameters()}
    assert names == set(task.trained_state())
    stepped(task, batch())
    state = checkpoint.State(step=1, position=2, best=None, catalog_hash="", metrics={},
                             recipe=checkpoint.read_state(resolve(folder)).recipe)  # fmt: skip
    checkpoint.save(folder / "checkpoints", task, None, state)
    given, rgb = trained_event_embedder(folder), trained_rgb_embedder(reconstructor)
    for name, tensor in task.student.state_dict().items():
        assert torch.equal(given.state_dict()[name], tensor)
    assert not torch.equal(given.projection.w1.weight, rgb.projection.w1.weight)
