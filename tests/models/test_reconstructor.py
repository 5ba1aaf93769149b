"""The whole reconstructor: its condition, dropout of modalities, frozen parts, a start of learning."""

import pytest
import torch

from eventsam.models.mask_embedder import MaskEncoder
from eventsam.models.occupancy import OccupancyDecoder
from eventsam.models.projection import Projection
from eventsam.models.reconstructor import Reconstructor, build_reconstructor


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator)
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    mask[:, :, 8:24, 8:24] = 1
    pointmap = torch.randn(2, 3, 32, 32, generator=generator)
    pointmap[:, :, :4] = torch.nan
    return rgb, mask, pointmap


def build(**changes) -> Reconstructor:
    torch.manual_seed(0)
    return build_reconstructor(**{"preset": "micro", "image_size": 32, "resolution": 16, **changes})


def test_logits_and_condition_have_their_shapes(inputs) -> None:
    rgb, mask, pointmap = inputs
    model = build(pointmap=True)
    assert model.condition(rgb, mask, pointmap).shape == (2, 17 + 16 + 16, 32)
    assert model(rgb, mask, pointmap).shape == (2, 16, 16, 16)
    assert build()(rgb, mask).shape == (2, 16, 16, 16)


def test_groups_are_in_order_and_marked(inputs) -> None:
    rgb, mask, _ = inputs
    model = build().eval()
    tokens = model.condition(rgb, mask)
    projected = model.projection(model.encoder(rgb).tokens)
    torch.testing.assert_close(tokens[:, :17], projected + model.group_embedding[0])
    torch.testing.assert_close(tokens[:, 17:], model.mask_embedder(mask) + model.group_embedding[1])


def test_fuse_tokens_is_applied_once_to_rgb_tokens(inputs) -> None:
    rgb, mask, _ = inputs
    model = build().eval()
    shapes = []

    def fuse(tokens):
        shapes.append(tokens.shape)
        return tokens + 1

    fused, plain = model.condition(rgb, mask, fuse_tokens=fuse), model.condition(rgb, mask)
    assert shapes == [(2, 17, 32)]
    torch.testing.assert_close(fused[:, :17], plain[:, :17] + 1)
    assert torch.equal(fused[:, 17:], plain[:, 17:])


def test_missing_pointmap_leaves_zeros_and_an_unread_one_is_refused(inputs) -> None:
    rgb, mask, pointmap = inputs
    assert build(pointmap=True).condition(rgb, mask)[:, 33:].abs().max() == 0
    with pytest.raises(ValueError, match="no pointmap embedder"):
        build()(rgb, mask, pointmap)


def test_modalities_are_dropped_in_train_mode_only(inputs) -> None:
    rgb, mask, pointmap = inputs
    model = build(pointmap=True, mask_dropout=1.0, pointmap_dropout=1.0)
    assert model.train().condition(rgb, mask, pointmap)[:, 17:].abs().max() == 0
    kept = model.eval().condition(rgb, mask, pointmap)[:, 17:]
    assert kept.abs().amax(dim=(0, 2)).min() > 0


def test_dropout_is_per_sample() -> None:
    model = build(mask_dropout=0.5).train()
    rgb, mask = torch.zeros(64, 3, 32, 32, dtype=torch.uint8), torch.ones(64, 1, 32, 32)
    dropped = (model.condition(rgb, mask)[:, 17:] == 0).all(dim=(1, 2))
    assert 10 < dropped.sum() < 54


def test_frozen_teacher_keeps_its_modalities_when_the_task_trains(inputs) -> None:
    teacher = build(pointmap=True, mask_dropout=1.0, pointmap_dropout=1.0).freeze()
    task = torch.nn.ModuleList([teacher, torch.nn.Linear(2, 2)]).train()
    assert task[1].training
    assert not any(module.training for module in teacher.modules())
    assert teacher.condition(*inputs)[:, 17:].abs().amax(dim=(0, 2)).min() > 0


def test_a_frozen_part_stays_frozen_inside_a_trained_reconstructor(inputs) -> None:
    model = build()
    model.encoder.freeze()
    model.train()
    assert model.decoder.training
    assert not model.encoder.training
    model(*inputs[:2]).sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert model.projection.w1.weight.grad.abs().sum() > 0


def test_widths_must_agree() -> None:
    model = build()
    with pytest.raises(ValueError, match="widths disagree: encoder 32, projection in 16"):
        Reconstructor(model.encoder, Projection(16, 32), model.mask_embedder, None, model.decoder)


def test_real_sizes_are_sam3ds() -> None:
    with torch.device("meta"):
        model = build_reconstructor("vit_large_patch14_reg4_dinov2", 518, 64, pointmap=True)
    assert isinstance(model.mask_embedder, MaskEncoder)
    assert isinstance(model.decoder, OccupancyDecoder)
    assert model.mask_embedder.num_tokens == 1370
    assert model.pointmap_embedder.num_tokens == 1024
    assert model.pointmap_embedder.point_proj.out_features == 512
    assert model.width == 1024


def test_weights_reach_the_encoder(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        build(weights=tmp_path / "absent.safetensors")


def test_it_learns_one_batch(inputs) -> None:
    rgb, mask, _ = inputs
    model = build()
    target = torch.zeros(2, 16, 16, 16)
    target[0, 4:12, 4:12, 4:12] = 1
    target[1, :, 6:10, 6:10] = 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(rgb, mask), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    predicted = model(rgb, mask) > 0
    iou = (predicted & target.bool()).sum() / (predicted | target.bool()).sum()
    assert iou > 0.9
