"""The projection of one token stream into the condition's width: LayerNorm, then a gated feed-forward."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from eventsam.models.freeze import Freezable


class Projection(Freezable):
    """LayerNorm and SwiGLU, w2(silu(w1 x) * w3 x) without biases, from `in_width` to `width`.

    The hidden width is 2/3 * 4 * width rounded up to a multiple of `hidden_multiple` (SAM 3D, arXiv 2511.16624, its
    condition embedder: 8,652,800 parameters at width 1024; SwiGLU: arXiv 2002.05202).
    """

    def __init__(self, in_width: int, width: int, hidden_multiple: int = 256) -> None:
        super().__init__()
        hidden = math.ceil(8 * width / 3 / hidden_multiple) * hidden_multiple
        self.in_width, self.width, self.hidden_multiple = in_width, width, hidden_multiple
        self.norm = nn.LayerNorm(in_width)
        self.w1 = nn.Linear(in_width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.w3 = nn.Linear(in_width, hidden, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, N, in_width) to (B, N, width)."""
        normed = self.norm(tokens)
        return self.w2(F.silu(self.w1(normed)) * self.w3(normed))  # type: ignore[no-any-return]
