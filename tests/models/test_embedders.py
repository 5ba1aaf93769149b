"""Mask and pointmap embedders, the projection: sizes of the paper, invalid pixels, normalisation."""

import pytest
import torch

from eventsam.models.mask_embedder import MaskEmbedder, MaskEncoder
from eventsam.models.pointmap_embedder import PointmapEmbedder, normalise_pointmap
from eventsam.models.projection import Projection
from eventsam.models.vit import ImageEncoder


@pytest.mark.parametrize(("in_width", "count"), [(1024, 8_652_800), (512, 5_768_192)])
def test_projection_has_the_papers_size(in_width, count) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Projection(in_width, 1024).parameters()) == count


def test_projection_is_swiglu_of_normed_tokens() -> None:
    projection = Projection(6, 4, hidden_multiple=8)
    tokens = torch.randn(2, 3, 6)
    x = projection.norm(tokens)
    gate = x @ projection.w1.weight.T
    expected = (gate * gate.sigmoid() * (x @ projection.w3.weight.T)) @ projection.w2.weight.T
    torch.testing.assert_close(projection(tokens), expected)
    assert projection.w1.weight.shape == (16, 6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32])
def test_mask_embedder_takes_any_dtype(dtype) -> None:
    embedder = MaskEmbedder(16, image_size=32, num_heads=2)
    mask = (torch.rand(2, 1, 32, 32) > 0.5).to(dtype)
    assert embedder(mask).shape == (2, embedder.num_tokens, 16)


def test_mask_embedder_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="not divisible by the mask patch 8"):
        MaskEmbedder(16, image_size=30)
    with pytest.raises(ValueError, match=r"expected masks \(B, 1, 32, 32\), got \(2, 3, 32, 32\)"):
        MaskEmbedder(16, image_size=32)(torch.zeros(2, 3, 32, 32))


def test_mask_encoder_sees_zero_and_one_as_black_and_white() -> None:
    encoder = MaskEncoder(ImageEncoder("micro", 32), Projection(32, 48, 16)).eval()
    mask = (torch.rand(2, 1, 32, 32) > 0.5).to(torch.uint8)
    expected = encoder.projection(encoder.encoder((mask * 255).expand(-1, 3, -1, -1)).tokens)
    torch.testing.assert_close(encoder(mask), expected)
    assert encoder(mask).shape == (2, encoder.num_tokens, 48)


def test_pointmap_released_size() -> None:
    with torch.device("meta"):
        embedder = PointmapEmbedder(512, 1024)
    assert embedder.num_tokens == 1024
    assert embedder.pos_embed.shape == (1, 512, 32, 32)
    assert embedder.pos_embed_window.shape == (1, 65, 512)
    expected = {"point_proj", "invalid_xyz_token", "pos_embed", "pos_embed_window", "cls_token", "blocks", "projection"}
    assert {name.split(".")[0] for name in embedder.state_dict()} == expected


def test_windows_keep_their_place() -> None:
    embedder = PointmapEmbedder(16, 16, input_size=16, window=8, num_heads=2).eval()
    pointmap = torch.randn(1, 3, 16, 16)
    changed = pointmap.clone()
    changed[:, :, 3, 12] += 5.0
    moved = (embedder(pointmap) - embedder(changed)).abs().sum(-1)[0] > 0
    assert moved.tolist() == [False, True, False, False]


def test_invalid_pixels_become_the_learned_vector_whatever_they_hold() -> None:
    embedder = PointmapEmbedder(16, 16, input_size=16, window=8, num_heads=2).eval()
    pointmap = torch.randn(2, 3, 16, 16)
    one_bad, all_bad = pointmap.clone(), pointmap.clone()
    one_bad[:, 1, 4, 4] = torch.nan
    all_bad[:, :, 4, 4] = torch.inf
    assert torch.equal(embedder(one_bad), embedder(all_bad))
    embedder(torch.full((1, 3, 16, 16), torch.nan)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in embedder.parameters())
    assert embedder.invalid_xyz_token.grad.abs().sum() > 0


def test_pointmap_embedder_refuses() -> None:
    with pytest.raises(ValueError, match="not divisible by the window"):
        PointmapEmbedder(16, 16, input_size=20)
    with pytest.raises(ValueError, match=r"expected pointmaps \(B, 3, H, W\)"):
        PointmapEmbedder(16, 16, input_size=16, num_heads=2)(torch.zeros(1, 16, 16, 3))


def test_normalised_pointmap_does_not_depend_on_place_and_scale() -> None:
    pointmap = torch.randn(2, 3, 9, 9)
    pointmap[:, :, 0, 0] = torch.nan
    mask = torch.zeros(2, 1, 9, 9, dtype=torch.uint8)
    mask[:, :, 2:5, 2:5] = 1
    normalised, shift, scale = normalise_pointmap(pointmap, mask)
    again, moved_shift, moved_scale = normalise_pointmap(3 * pointmap + 7, mask)
    torch.testing.assert_close(again, normalised, equal_nan=True, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved_shift, 3 * shift + 7)
    torch.testing.assert_close(moved_scale, 3 * scale)
    inside = pointmap[0, :, 2:5, 2:5].flatten(1)
    torch.testing.assert_close(shift[0], inside.median(dim=1).values)
    assert normalised[:, :, 0, 0].isnan().all()


def test_normalising_nothing_stays_finite() -> None:
    empty = torch.zeros(1, 1, 4, 4)
    normalised, shift, scale = normalise_pointmap(torch.full((1, 3, 4, 4), torch.nan), empty)
    assert normalised.isnan().all()
    assert shift.tolist() == [[0.0, 0.0, 0.0]]
    assert scale.tolist() == [1.0]
    flat, _, flat_scale = normalise_pointmap(torch.ones(1, 3, 4, 4), torch.ones(1, 1, 4, 4))
    assert flat_scale.tolist() == [1.0]
    assert flat.abs().max() == 0
