"""Where a cell of the object's cube looks in the image: a learned projection per attention head."""

import torch
from torch import Tensor, nn


class ProjectedLookup(nn.Module):
    """Attention bias that lets each head look where a cell projects to.

    Head h scores a token at image place u by -s_h |P_h c - u|^2 for a cell centre c, with a learned affine projection
    P_h and sharpness s_h; tokens without a place (CLS) get 0. P starts as the orthographic view along +y of the view
    frame (+x to the right, +z up), so that lifting image features to 3-D need not be discovered by attention first:
    from random attention, short trainings stay at the mean shape.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        view = torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
        self.projection = nn.Parameter(view.repeat(num_heads, 1, 1))
        self.offset = nn.Parameter(torch.zeros(num_heads, 2))
        # From one patch of an 8 x 8 grid to half the image.
        self.log_sharpness = nn.Parameter(torch.linspace(4.5, 1.5, num_heads))

    def forward(self, cells: Tensor, places: Tensor) -> Tensor:
        """Return the bias (heads, Q, N) of cell centres (Q, 3) in [-0.5, 0.5]^3 and token places (N, 2).

        Places are (row, column) in [-0.5, 0.5], NaN for a token without one.
        """
        looked_at = torch.einsum("hij,qj->hqi", self.projection, cells) + self.offset[:, None]
        placed = places.isfinite().all(dim=-1)
        offsets = looked_at[:, :, None] - places.nan_to_num()
        score = -self.log_sharpness.exp()[:, None, None] * offsets.square().sum(dim=-1)
        return score * placed


def grid_places(rows: int, columns: int, num_unplaced: int = 0) -> Tensor:
    """Return the places (num_unplaced + rows * columns, 2) of a row-major patch grid behind tokens without a place."""
    row = (torch.arange(rows) + 0.5) / rows - 0.5
    column = (torch.arange(columns) + 0.5) / columns - 0.5
    grid = torch.cartesian_prod(row, column)
    return torch.cat([torch.full((num_unplaced, 2), torch.nan), grid])


def cell_centres(grid: int) -> Tensor:
    """Return the centres (grid^3, 3) of a cubic grid over [-0.5, 0.5]^3, z fastest."""
    centres = (torch.arange(grid) + 0.5) / grid - 0.5
    return torch.cartesian_prod(centres, centres, centres)
