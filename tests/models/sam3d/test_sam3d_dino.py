"""The image encoder under DINOv2's own names: the same function as timm's, and a state that goes in and out whole."""

import pytest
import torch

from eventsam.models.sam3d.dino import DinoEncoder
from eventsam.models.sam3d.projection_net import ProjectionNet
from eventsam.models.vit import ImageEncoder
from eventsam.models.vit_weights import from_dinov2, to_dinov2


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def hub_state(encoder: DinoEncoder) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return {name: torch.randn(t.shape, generator=rng) * 0.1 for name, t in encoder.backbone.state_dict().items()}


def test_names_are_dinov2s() -> None:
    with torch.device("meta"):
        large = DinoEncoder("vit_large_patch14_reg4_dinov2", 518)
    shapes = {name: tuple(tensor.shape) for name, tensor in large.state_dict().items()}
    assert {name.split(".")[0] for name in shapes} == {"backbone"}
    top = {name.removeprefix("backbone.") for name in shapes if not name.startswith("backbone.blocks.")}
    assert top == {"cls_token", "register_tokens", "mask_token", "pos_embed", "patch_embed.proj.weight",
                   "patch_embed.proj.bias", "norm.weight", "norm.bias"}  # fmt: skip
    assert shapes["backbone.pos_embed"] == (1, 1370, 1024) and shapes["backbone.mask_token"] == (1, 1024)
    assert shapes["backbone.register_tokens"] == (1, 4, 1024) and shapes["backbone.blocks.23.ls2.gamma"] == (1024,)
    block = {name.removeprefix("backbone.blocks.0.") for name in shapes if name.startswith("backbone.blocks.0.")}
    kinds = {f"{part}.{kind}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
             for kind in ("weight", "bias")}  # fmt: skip
    assert block == kinds | {"ls1.gamma", "ls2.gamma"}


def test_upstream_weights_load_strictly_and_come_out_unchanged() -> None:
    encoder = DinoEncoder("micro", 32)
    state = {f"backbone.{name}": tensor for name, tensor in hub_state(encoder).items()}
    encoder.load_state_dict(state, strict=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.state_dict().items())


def test_it_is_the_same_function_as_timms(image) -> None:
    encoder, timms = DinoEncoder("micro", 32).eval(), ImageEncoder("micro", 32).eval()
    state = hub_state(encoder)
    encoder.backbone.load_state_dict(state)
    timms.load_state(state, "hub")
    ours, theirs = encoder(image, taps=(1,)), timms(image, taps=(1,))
    assert torch.equal(ours.tokens, theirs.tokens) and torch.equal(ours.taps[1], theirs.taps[1])


def test_timms_names_another_size_and_other_channels_are_taken(image) -> None:
    timms = ImageEncoder("micro", 32).eval()
    encoder = DinoEncoder("micro", 32).eval()
    encoder.copy_weights(timms)
    assert torch.equal(encoder(image).tokens, timms(image).tokens)
    larger = DinoEncoder("micro", 48, in_channels=5)
    larger.load_state(encoder.backbone.state_dict(), "file")
    assert larger(torch.rand(1, 5, 48, 48)).tokens.shape == (1, 37, 32)
    assert larger.is_initialised_from == "file"
    with pytest.raises(ValueError, match=r"missing: norm\.bias"):
        state = encoder.backbone.state_dict()
        state.pop("norm.bias")
        larger.load_state(state, "file")


def test_renaming_there_and_back() -> None:
    state = ImageEncoder("micro", 32).vit.state_dict()
    back = from_dinov2(to_dinov2(state))
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


def test_checkpointing_changes_memory_and_not_gradients(image) -> None:
    encoder = DinoEncoder("micro", 32)
    gradients = []
    for encoder.checkpointing in (False, True):
        encoder.zero_grad()
        encoder(image).tokens.square().sum().backward()
        gradients.append(encoder.patch_embed.proj.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_the_projection_net_has_the_released_sizes() -> None:
    with torch.device("meta"):
        images, points = ProjectionNet(1024, 1024), ProjectionNet(512, 1024)
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert (count(images), count(points)) == (8_652_800, 5_768_192)
    assert set(points.state_dict()) == {"0.weight", "0.bias", "1.w1.weight", "1.w2.weight", "1.w3.weight"}
    assert points[1].w1.weight.shape == (2816, 512)
    assert not ProjectionNet(8, 8, 8).freeze().train().training
