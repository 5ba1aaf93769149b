"""The projection of one token stream into the condition, under the parameter names of SAM 3D's checkpoints."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from eventsam.models.freeze import Freezable


class GatedFeedForward(nn.Module):
    """SwiGLU, w2(silu(w1 x) * w3 x), without biases (arXiv 2002.05202)."""

    def __init__(self, in_width: int, hidden: int, width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(in_width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.w3 = nn.Linear(in_width, hidden, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, N, in_width) to (B, N, width)."""
        return self.w2(F.silu(self.w1(tokens)) * self.w3(tokens))  # type: ignore[no-any-return]


class ProjectionNet(Freezable, nn.Sequential):
    """LayerNorm, then a gated feed-forward: `projection_nets.<k>` of SAM 3D's condition embedder.

    The function of `eventsam.models.projection.Projection`: 8,652,800 parameters at width 1024.
    """

    def __init__(self, in_width: int, width: int, hidden_multiple: int = 256) -> None:
        hidden = math.ceil(8 * width / 3 / hidden_multiple) * hidden_multiple
        super().__init__(nn.LayerNorm(in_width), GatedFeedForward(in_width, hidden, width))
        self.in_width, self.width, self.hidden_multiple = in_width, width, hidden_multiple
