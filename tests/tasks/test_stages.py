"""Reconstruction and fusion: what trains, what stays, and that a fresh fusion changes nothing."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from eventsam.models.embedder import ImageEmbedder
from eventsam.models.fusion.injected import fusion_names
from eventsam.models.reconstructor import Reconstructor, build_reconstructor
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.optim import AdamW
from eventsam.tasks.fuse import Fuse
from eventsam.tasks.reconstruct import Reconstruct
from eventsam.tasks.task import Task


def batch(pointmap: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def image() -> Tensor:
        return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator)

    mask = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    mask[:, :, 8:20, 10:25] = 1
    names = ("rgb", "rgb_blurry", "event_image")
    samples = {name: image() for name in names} | {"mask": mask, "mask_blurry": mask.clone()}
    samples["occupancy"] = torch.rand(2, 8, 8, 8, generator=generator) > 0.7
    samples["sample_index"] = torch.arange(2)
    return samples | ({"pointmap": torch.rand(2, 3, 32, 32, generator=generator) + 1} if pointmap else {})


def model(pointmap: bool = False, mask_prompt: str = "mask") -> Reconstructor:
    torch.manual_seed(0)
    return build_reconstructor("micro", 32, 8, pointmap, mask_prompt=mask_prompt)  # type: ignore[arg-type]


def fuse(reconstructor: Reconstructor, fusion: str, blocks: Sequence[int] | str | None) -> Fuse:
    embedder = ImageEmbedder(reconstructor.encoder, reconstructor.projection).student(3)
    for parameter in embedder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Fuse(reconstructor, embedder, OccupancyLoss(), fusion, blocks, 2)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("pointmap", [False, True])
@pytest.mark.parametrize("fusion", fusion_names())
@pytest.mark.parametrize("blocks", [None, (0,), (0, 1, 2), "final"])
def test_a_fresh_fusion_leaves_the_reconstruction_as_it_was(
    fusion: str, blocks: Sequence[int] | str | None, pointmap: bool
) -> None:
    task, samples = fuse(model(pointmap), fusion, blocks).eval(), batch(pointmap)
    # Under one gradient mode, since CPU attention takes another path with gradients.
    with torch.no_grad():
        plain = task.reconstructor(samples["rgb_blurry"], samples["mask_blurry"], samples.get("pointmap"))
        assert torch.equal(task.predict(samples), plain)


@pytest.mark.parametrize("fusion", fusion_names())
@pytest.mark.parametrize("blocks", [(0, 2), "final"])
def test_only_the_fusion_trains(fusion: str, blocks: Sequence[int] | str) -> None:
    task = fuse(model(), fusion, blocks)
    before = stepped(task, batch(), steps=3)
    changed = {name for name, tensor in task.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("fusion.") for name in changed)
    assert set(task.trained_state()) == {name for name in before if name.startswith("fusion.")}


def test_the_fused_target_is_the_teachers_own_from_sharp_rgb() -> None:
    task, samples = fuse(model(), "gated", None).eval(), batch()
    taught = torch.sigmoid(task.reconstructor(samples["rgb"], samples["mask_blurry"]))
    assert torch.equal(task._target(samples), taught)


def test_encoders_of_other_sizes_are_refused() -> None:
    other = build_reconstructor("tiny", 64, 8)
    with pytest.raises(ValueError, match="the event encoder is 'tiny', the reconstructor's 'micro'"):
        Fuse(model(), ImageEmbedder(other.encoder, other.projection), OccupancyLoss())


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_reconstruction_overfits_one_batch(weight: float) -> None:
    task = Reconstruct(model(mask_prompt="box"), OccupancyLoss(gamma=1.0), silhouette_weight=weight)
    samples = batch()
    first = task(samples)["loss"].item()
    stepped(task, samples, steps=30)
    assert task(samples)["loss"].item() < 0.8 * first


def test_a_box_prompt_hides_the_outline() -> None:
    boxed, samples = model(mask_prompt="box").eval(), batch()
    outline = samples["mask"].clone()
    outline[:, :, 12:16, 12:20] = 0
    assert torch.equal(boxed(samples["rgb"], samples["mask"]), boxed(samples["rgb"], outline))
    plain = model().eval()
    assert not torch.equal(plain(samples["rgb"], samples["mask"]), plain(samples["rgb"], outline))
