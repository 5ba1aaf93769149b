"""The occupancy autoencoder: orders of cells and tokens, the latent scale, and what is refused."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from eventsam.models.sam3d.latent_scale import LatentScale
from eventsam.models.sam3d.presets import PRESETS
from eventsam.models.sam3d.vae import (
    OccupancyVae,
    OccupancyVaeDecoder,
    OccupancyVaeEncoder,
    pixel_shuffle_3d,
    to_grid,
    to_tokens,
)

MICRO = dataclasses.replace(PRESETS["tiny"], grid=4, decoder_channels=(16, 8, 8))


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module


def test_tokens_run_over_x_y_z_with_z_fastest() -> None:
    cells = torch.zeros(1, 8, 4, 4, 4)
    cells[0, :, 1, 2, 3] = torch.arange(8)
    tokens = to_tokens(cells)
    assert torch.equal(tokens[0, 1 * 16 + 2 * 4 + 3], torch.arange(8.0))
    assert torch.equal(to_grid(tokens, 4), cells)


def test_a_shuffled_cell_lies_where_its_channel_says() -> None:
    cells = torch.randn(2, 24, 3, 4, 5)
    fine = pixel_shuffle_3d(cells)
    assert fine.shape == (2, 3, 6, 8, 10)
    for c, i, j, k in ((0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 1, 1), (2, 1, 1, 0)):
        assert torch.equal(fine[:, c, i::2, j::2, k::2], cells[:, 8 * c + 4 * i + 2 * j + k])
    # With one cell along x, the other two axes are torch's own 2-D shuffle.
    flat = torch.randn(2, 12, 1, 4, 5)
    doubled = flat.unflatten(1, (3, 1, 4)).expand(-1, -1, 2, -1, -1, -1, -1).reshape(2, 24, 1, 4, 5)
    assert torch.equal(pixel_shuffle_3d(doubled)[:, :, 0], F.pixel_shuffle(flat[:, :, 0], 2))


def test_shapes_and_both_forms_of_latents() -> None:
    decoder, encoder = randomised(OccupancyVaeDecoder(MICRO)), randomised(OccupancyVaeEncoder(MICRO))
    posterior = encoder(torch.rand(2, 16, 16, 16) > 0.5)
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 8, 4, 4, 4)
    logits = decoder(posterior.mean)
    assert logits.shape == (2, 1, 16, 16, 16)
    assert torch.equal(decoder(to_tokens(posterior.mean)), logits)


def test_axes_keep_their_order_through_the_decoder() -> None:
    """What changes at one corner of the latent grid changes the occupancy at that corner first."""
    decoder = randomised(OccupancyVaeDecoder(dataclasses.replace(MICRO, grid=8, decoder_layers=0)))
    latents = torch.zeros(1, 8, 8, 8, 8, requires_grad=True)
    corner = decoder(latents)[0, 0, 0, 31, 0]
    (gradient,) = torch.autograd.grad(corner, latents)
    reached = gradient[0].abs().sum(dim=0).nonzero()
    assert len(reached) and reached[:, 0].max() < 4 and reached[:, 1].min() >= 4 and reached[:, 2].max() < 4


def test_the_released_decoder_is_of_the_released_size() -> None:
    with torch.device("meta"):
        decoder = OccupancyVaeDecoder(PRESETS["sam3d"])
    kernel = 27
    residual = {c: 2 * (c * c * kernel + c) + 4 * c for c in (512, 128, 32)}
    expected = 8 * 512 * kernel + 512 + 4 * residual[512] + 2 * residual[128] + 2 * residual[32]
    expected += (512 * 1024 + 128 * 256) * kernel + 1024 + 256 + 2 * 32 + 32 * kernel + 1
    assert sum(p.numel() for p in decoder.parameters()) == expected
    assert decoder(torch.empty(1, 4096, 8, device="meta")).shape == (1, 1, 64, 64, 64)


@pytest.mark.parametrize("shape", [(2, 63, 8), (2, 64, 4), (2, 8, 4, 4), (2, 8, 4, 4, 5)])
def test_latents_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        OccupancyVaeDecoder(MICRO)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 15, 16, 16), (2, 2, 16, 16, 16)])
def test_occupancy_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected occupancy \(B, \*\(16, 16, 16\)\)"):
        OccupancyVaeEncoder(MICRO)(torch.zeros(shape))


def test_the_scale_finds_any_mean_and_deviation() -> None:
    scale, draw = LatentScale(2), torch.Generator().manual_seed(0)
    mean, std = torch.tensor([3.0, -50.0]).view(2, 1, 1, 1), torch.tensor([0.02, 7.0]).view(2, 1, 1, 1)

    def values(batch: int = 4) -> torch.Tensor:
        return torch.randn(batch, 2, 8, 8, 8, generator=draw) * std + mean

    scale(values())
    torch.testing.assert_close(scale.std, std.flatten(), rtol=0.1, atol=0)  # the first batch already counts in full
    for _ in range(100):
        scale(values())
    normalised = scale.eval()(values(64))
    assert normalised.mean(dim=(0, 2, 3, 4)).abs().max() < 0.03
    torch.testing.assert_close(normalised.std(dim=(0, 2, 3, 4)), torch.ones(2), rtol=0.02, atol=0)


def test_the_scale_rests_in_eval_mode_and_no_sample_sees_its_neighbours() -> None:
    scale = LatentScale(2)
    scale(torch.randn(4, 2, 4, 4, 4))
    scale.eval()
    before = {name: tensor.clone() for name, tensor in scale.state_dict().items()}
    values = torch.randn(4, 2, 4, 4, 4)
    both, alone = scale(values), scale(values[:1])
    assert torch.equal(both[:1], alone)
    assert all(torch.equal(tensor, before[name]) for name, tensor in scale.state_dict().items())


def test_a_constant_channel_stays_finite() -> None:
    scale = LatentScale(1)
    assert scale(torch.full((2, 1, 4, 4, 4), 5.0)).isfinite().all()


def test_two_forward_passes_before_a_backward_pass() -> None:
    vae = randomised(OccupancyVae()).train()
    occupancy = torch.rand(2, 1, 32, 32, 32) > 0.5
    sum(vae.encode(occupancy).mean.square().mean() for _ in range(2)).backward()
    assert vae.encoder.input_layer.weight.grad.isfinite().all()


def test_states_hold_the_scale_in_the_encoder() -> None:
    vae = randomised(OccupancyVae()).train()
    occupancy = torch.rand(2, 32, 32, 32, generator=torch.Generator().manual_seed(1)) > 0.7
    vae.encode(occupancy)
    vae.eval()
    states = vae.states()
    encoder, decoder = OccupancyVaeEncoder(PRESETS["tiny"]), OccupancyVaeDecoder(PRESETS["tiny"])
    encoder.load_state_dict(states["encoder"])
    decoder.load_state_dict(states["decoder"])
    with torch.no_grad():
        for whole, part in zip(vae.encode(occupancy), encoder(occupancy), strict=True):
            torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-4)
        latents = vae.encode(occupancy).mean
        assert torch.equal(decoder(latents), vae.decode(latents))
    assert not torch.equal(states["encoder"]["out_layer.2.bias"], vae.encoder.out_layer[2].bias)


def test_a_frozen_decoder_passes_gradients_on_and_takes_none() -> None:
    decoder = randomised(OccupancyVaeDecoder(MICRO)).freeze()
    latents = torch.zeros(1, 64, 8, requires_grad=True)
    decoder(latents).sum().backward()
    assert latents.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in decoder.parameters())


def update_in_a_group(rank: int, folder: str, halves: list[torch.Tensor]) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    scale = LatentScale(2)
    for half in halves[rank::2]:
        scale(half)
    torch.save(scale.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_agree_with_one(tmp_path: Path) -> None:
    values = [torch.randn(4, 2, 4, 4, 4) * step + step for step in range(1, 4)]
    alone = LatentScale(2)
    for value in values:
        alone(value)
    halves = [half for value in values for half in value.chunk(2)]
    torch.multiprocessing.spawn(update_in_a_group, args=(str(tmp_path), halves), nprocs=2)
    for rank in range(2):
        for name, tensor in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            torch.testing.assert_close(tensor, alone.state_dict()[name])
