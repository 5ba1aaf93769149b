"""The image encoder: shapes, taps, injection, weights that fit and weights that do not."""

import re
import socket
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from eventsam.models.vit import PRESETS, ImageEncoder, check_preset, download_weights
from eventsam.models.vit_weights import adapt_channels, from_dinov2, resample_positions


@pytest.fixture
def encoder() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder("micro", 32).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def weights_file(folder: Path, encoder: ImageEncoder) -> Path:
    path = folder / "weights.safetensors"
    save_file(encoder.vit.state_dict(), path)
    return path


def test_tokens_are_cls_and_patches_and_taps_hold_all(encoder, image) -> None:
    encoded = encoder(image, taps=(0, 2))
    assert encoded.tokens.shape == (2, 17, 32)
    assert sorted(encoded.taps) == [0, 2]
    assert encoded.taps[0].shape == (2, encoder.num_prefix_tokens + 16, 32)
    assert encoder.grid == (4, 4)


def test_forward_equals_timm_on_normalised_images(encoder, image) -> None:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = encoder.vit.forward_features((image.float() / 255 - mean) / std)
    kept = torch.cat([expected[:, :1], expected[:, 5:]], dim=1)
    torch.testing.assert_close(encoder(image).tokens, kept)


def test_uint8_and_unit_floats_agree(encoder, image) -> None:
    torch.testing.assert_close(encoder(image).tokens, encoder(image.float() / 255).tokens)


def test_tap_is_taken_after_injection_and_injection_reaches_the_output(encoder, image) -> None:
    seen = []

    def inject(block, tokens):
        seen.append(block)
        return tokens + 1 if block == 1 else tokens

    encoded = encoder(image, inject=inject, taps=(0, 1))
    plain = encoder(image, taps=(0, 1))
    assert seen == [0, 1, 2]
    assert torch.equal(encoded.taps[0], plain.taps[0])
    assert torch.equal(encoded.taps[1], plain.taps[1] + 1)
    assert not torch.allclose(encoded.tokens, plain.tokens)


def test_query_key_give_the_attention_of_the_block(encoder, image) -> None:
    taps = encoder(image, taps=(0,)).taps
    q, k = encoder.query_key(1, taps[0])
    block = encoder.blocks[1]
    v = block.attn.qkv(block.norm1(taps[0])).chunk(3, dim=-1)[2].unflatten(-1, (2, -1)).transpose(1, 2)
    attended = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1) @ v
    expected = block.attn.proj(attended.transpose(1, 2).flatten(2))
    torch.testing.assert_close(block.attn(block.norm1(taps[0])), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.startswith("vit_")])
def test_real_presets_have_timms_sizes(preset) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(preset, num_classes=0)
        ours = ImageEncoder(preset, 518)
    assert {n: t.shape for n, t in ours.vit.state_dict().items()} == {
        n: t.shape for n, t in theirs.state_dict().items()
    }
    assert ours.num_blocks == len(theirs.blocks)
    assert ours.grid == (37, 37)


def test_large_trainable_counts_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        large = ImageEncoder("vit_large_patch14_reg4_dinov2", 518)
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(large.patch_embed) == 603_136
    assert count(large.blocks[0].mlp) == 8_393_728


@pytest.mark.parametrize("size", [60, 33, 4])
def test_size_that_the_patch_does_not_divide_is_refused(size) -> None:
    with pytest.raises(ValueError, match=r"not divisible by the patch of 'micro', 8; nearest: \d+ or \d+"):
        ImageEncoder("micro", size)


def test_wrong_inputs_are_refused(encoder, image) -> None:
    with pytest.raises(ValueError, match=r"expected images \(B, 3, 32, 32\), got \(2, 3, 40, 32\)"):
        encoder(torch.zeros(2, 3, 40, 32))
    with pytest.raises(ValueError, match=re.escape("taps [3] out of range: 'micro' has blocks 0..2")):
        encoder(image, taps=(1, 3))
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        ImageEncoder("tinny")
    with pytest.raises(ValueError, match="did you mean 'vit_large_patch14_reg4_dinov2'"):
        check_preset("vit_large_patch14_dinov2")
    with pytest.raises(ValueError, match="in_channels"):
        ImageEncoder("micro", 32, in_channels=0)


def test_random_start_says_so_and_loading_names_its_source(tmp_path, encoder, image) -> None:
    assert encoder.is_initialised_from is None
    path = weights_file(tmp_path, encoder)
    loaded = ImageEncoder("micro", 32, weights=path).eval()
    assert loaded.is_initialised_from == str(path)
    assert torch.equal(loaded(image).tokens, encoder(image).tokens)


def test_prefix_picks_one_encoder_of_a_file(tmp_path, encoder, image) -> None:
    path = tmp_path / "both.safetensors"
    state = {f"module_list.0.backbone.{name}": tensor for name, tensor in encoder.vit.state_dict().items()}
    save_file({**state, "other": torch.zeros(1)}, path)
    loaded = ImageEncoder("micro", 32).eval()
    loaded.load_weights(path, prefix="module_list.0.backbone.")
    assert torch.equal(loaded(image).tokens, encoder(image).tokens)


def test_missing_file_and_misfits_are_named(tmp_path, encoder) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at"):
        ImageEncoder("micro", 32, weights=tmp_path / "absent.safetensors")
    path = weights_file(tmp_path, ImageEncoder("tiny", 64))
    with pytest.raises(ValueError, match=r"weights\.safetensors does not fit.*other shape.*nearest preset: 'tiny'"):
        encoder.load_weights(path)
    state = encoder.vit.state_dict()
    state["extra"] = state.pop("cls_token")
    with pytest.raises(ValueError, match=r"missing: cls_token; unexpected: extra"):
        encoder.load_state(state, "file")
    with pytest.raises(ValueError, match="no vision transformer's weights"):
        encoder.load_state({"linear.weight": torch.zeros(1)}, "file")
    assert encoder.is_initialised_from is None


def test_dinov2_names_give_the_same_function(encoder, image) -> None:
    state = encoder.vit.state_dict()
    position_of_cls = torch.randn(1, 1, 32)
    hub = {name: tensor for name, tensor in state.items() if name not in ("reg_token", "cls_token", "pos_embed")}
    hub["register_tokens"] = state["reg_token"]
    hub["mask_token"] = torch.zeros(1, 32)
    hub["cls_token"] = state["cls_token"] - position_of_cls
    hub["pos_embed"] = torch.cat([position_of_cls, state["pos_embed"]], dim=1)
    loaded = ImageEncoder("micro", 32).eval()
    loaded.load_state(hub, "hub")
    torch.testing.assert_close(loaded(image).tokens, encoder(image).tokens, atol=1e-3, rtol=1e-3)
    assert "mask_token" not in from_dinov2(hub)


def test_positions_follow_the_image_size(encoder) -> None:
    larger = ImageEncoder("micro", 48)
    larger.load_state(encoder.vit.state_dict(), "micro")
    assert larger.vit.pos_embed.shape == (1, 36, 32)
    constant = torch.full((1, 16, 3), 2.0)
    torch.testing.assert_close(resample_positions(constant, (6, 6)), torch.full((1, 36, 3), 2.0))
    assert torch.equal(resample_positions(constant, (4, 4)), constant)


@pytest.mark.parametrize("channels", [1, 2, 5, 10])
def test_channel_adaptation_keeps_the_response_to_grey(channels) -> None:
    kernel = torch.randn(8, 3, 4, 4)
    grey = torch.randn(2, 1, 4, 4)
    expected = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), kernel)
    adapted = torch.nn.functional.conv2d(grey.expand(-1, channels, -1, -1), adapt_channels(kernel, channels))
    torch.testing.assert_close(adapted, expected, atol=1e-5, rtol=1e-4)


def test_student_with_event_channels_starts_from_its_teacher(tmp_path, encoder) -> None:
    encoder.load_weights(weights_file(tmp_path, encoder))
    student = ImageEncoder("micro", 32, in_channels=10)
    student.copy_weights(encoder)
    assert student.is_initialised_from == encoder.is_initialised_from
    assert torch.equal(student.blocks[2].mlp.fc1.weight, encoder.blocks[2].mlp.fc1.weight)
    assert student(torch.randn(1, 10, 32, 32)).tokens.shape == (1, 17, 32)


def test_normalisation_is_not_in_the_checkpoint(encoder) -> None:
    assert all(name.startswith("vit.") for name in encoder.state_dict())


def test_nothing_is_downloaded_for_presets_without_public_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(ValueError, match=r"no public weights for 'tiny' \(there are for: vit_small"):
        download_weights("tiny", tmp_path)
    assert ImageEncoder("micro", 32).is_initialised_from is None


def test_freezing_outlives_train_mode_of_a_parent(encoder, image) -> None:
    parent = torch.nn.ModuleDict({"teacher": encoder.freeze(), "head": torch.nn.Linear(32, 1)})
    parent.train()
    assert not any(module.training for module in encoder.modules())
    assert parent["head"].training
    assert not any(p.requires_grad for p in encoder.parameters())
    tokens = encoder(image, inject=lambda i, t: t + torch.zeros(32, requires_grad=True)).tokens
    assert tokens.requires_grad, "gradients must pass through a frozen encoder to what is injected"
