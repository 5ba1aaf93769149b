"""The occupancy decoder and its pieces: axes, start, gradients, refusals."""

import pytest
import torch

from eventsam.models.attention import CrossAttention, grid_positions
from eventsam.models.lookup import ProjectedLookup, cell_centres, grid_places
from eventsam.models.occupancy import OccupancyDecoder, unfold_cells


def small_decoder(**changes) -> OccupancyDecoder:
    torch.manual_seed(0)
    sizes = dict(resolution=16, coarse_grid=2, fine_grid=4, coarse_width=24, fine_width=12, num_heads=2)
    return OccupancyDecoder(20, **{**sizes, **changes})


def test_logits_start_at_the_positive_rate() -> None:
    logits = small_decoder(positive_rate=0.2)(torch.randn(3, 7, 20))
    assert logits.shape == (3, 16, 16, 16)
    assert abs(logits.sigmoid().mean().item() - 0.2) < 0.03


def test_every_parameter_gets_a_gradient() -> None:
    decoder = small_decoder()
    (decoder(torch.randn(2, 5, 20), grid_places(2, 2, 1)) * torch.randn(2, 16, 16, 16)).sum().backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


def test_the_order_of_condition_tokens_does_not_matter_but_they_do() -> None:
    decoder = small_decoder().eval()
    condition = torch.randn(1, 6, 20)
    torch.testing.assert_close(decoder(condition), decoder(condition.flip(1)))
    assert not torch.allclose(decoder(condition), decoder(condition + 1 * torch.randn(1, 6, 20)))


def test_unfolding_puts_cells_at_x_y_z() -> None:
    cells = torch.arange(8 * 27.0).reshape(1, 8, 27)
    volume = unfold_cells(cells, grid=2, factor=3)
    assert volume.shape == (1, 6, 6, 6, 1)
    for x, y, z in ((0, 0, 0), (0, 1, 5), (4, 2, 1), (5, 5, 5)):
        cell = (x // 3) * 4 + (y // 3) * 2 + z // 3
        place = (x % 3) * 9 + (y % 3) * 3 + z % 3
        assert volume[0, x, y, z, 0] == cells[0, cell, place]


@pytest.mark.parametrize("width", [6, 20, 64])
def test_positions_tell_cells_apart(width) -> None:
    positions = grid_positions(8, width)
    assert positions.shape == (512, width)
    assert torch.cdist(positions, positions).fill_diagonal_(9.0).min() > 1e-2


def test_positions_put_z_fastest() -> None:
    positions = grid_positions(4, 12).view(4, 4, 4, 3, 4)
    assert torch.equal(positions[1, 2, 3, 2], positions[3, 0, 3, 2])
    assert torch.equal(positions[1, 2, 3, 0], positions[1, 0, 0, 0])


def test_refusals() -> None:
    with pytest.raises(ValueError, match="grids must divide each other: coarse 3, fine 8, R 32"):
        OccupancyDecoder(32, coarse_grid=3)
    with pytest.raises(ValueError, match="positive_rate must be inside"):
        small_decoder(positive_rate=0.0)
    with pytest.raises(ValueError, match="not divisible by num_heads"):
        CrossAttention(10, 4)
    with pytest.raises(ValueError, match="width of 6 or more"):
        grid_positions(4, 5)


def test_64_cells_per_side() -> None:
    decoder = OccupancyDecoder(32, 64, 8, 16, coarse_width=12, fine_width=6, num_heads=2, num_coarse_layers=1)
    assert decoder(torch.randn(1, 3, 32)).shape == (1, 64, 64, 64)


def test_a_cell_looks_where_it_projects_to_first() -> None:
    lookup, places = ProjectedLookup(2), grid_places(4, 4, 1)
    cells = torch.tensor([[0.375, 0.2, 0.375], [-0.375, -0.4, -0.375]])
    bias = lookup(cells, places)
    assert bias.shape == (2, 2, 17)
    # Right and up in the view frame is the last column of the first row; left and down the first of the last.
    assert (bias[:, :, 1:].argmax(dim=-1) == torch.tensor([3, 12])).all()
    assert (bias[:, :, 0] == 0).all()


def test_cells_of_a_grid_are_named_by_their_centres() -> None:
    assert cell_centres(2)[1].tolist() == [-0.25, -0.25, 0.25]
