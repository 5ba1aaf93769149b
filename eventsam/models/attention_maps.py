"""Where an image encoder looks: one block's attention per patch, of a teacher and its student side by side."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from eventsam.models.vit import ImageEncoder
from eventsam.unknown_name import unknown_name

Kind = Literal["cls", "received"]
"""The attention that CLS pays to each patch, or the mean that a patch receives from all patches."""


class AttentionPair(NamedTuple):
    """Maps (B, rows, columns) of one block, each with mean 1, so that both can be drawn on one scale."""

    teacher: Tensor
    student: Tensor


@torch.no_grad()
def attention_map(encoder: ImageEncoder, image: Tensor, block: int, kind: Kind = "received") -> Tensor:
    """Return block `block`'s attention per patch for images (B, C, H, W): (B, rows, columns), mean 1 per image.

    Averaged over heads. Attention to CLS and registers, which many patches pay for want of anything better
    (arXiv 2309.16588), is left out. Raises ValueError for an unknown kind and a block that is not there.
    """
    if kind not in get_args(Kind):
        raise ValueError(unknown_name("attention map", kind, get_args(Kind)))
    if not 0 <= block < encoder.num_blocks:
        raise ValueError(f"block {block} out of range: {encoder.preset!r} has blocks 0..{encoder.num_blocks - 1}")
    tokens = encoder.embed(image) if block == 0 else encoder(image, taps=(block - 1,)).taps[block - 1]
    queries, keys = encoder.query_key(block, tokens)
    prefix = encoder.num_prefix_tokens
    asking = queries[:, :, :1] if kind == "cls" else queries[:, :, prefix:]
    paid = torch.zeros((), device=image.device)
    # One head at a time: the attention of 1374 tokens and 16 heads would not fit beside a large batch.
    for head in range(encoder.num_heads):
        scores = asking[:, head].float() @ keys[:, head].float().mT * keys.shape[-1] ** -0.5
        paid = paid + scores.softmax(dim=-1)[:, :, prefix:].mean(dim=1)
    return (paid / paid.mean(dim=1, keepdim=True).clamp_min(1e-12)).view(-1, *encoder.grid)


def attention_pair(
    teacher: ImageEncoder,
    student: ImageEncoder,
    rgb: Tensor,
    event_image: Tensor,
    block: int,
    kind: Kind = "received",
) -> AttentionPair:
    """Return the teacher's map for the frames and the student's for the event images of the same moments."""
    return AttentionPair(attention_map(teacher, rgb, block, kind), attention_map(student, event_image, block, kind))
