"""Activation checkpointing: a module's activations are computed again in the backward pass and not kept."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def checkpointed(module: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Call a module, keeping only its inputs for the backward pass; without gradients, call it plainly."""
    if not torch.is_grad_enabled():
        return module(*inputs)
    return checkpoint(module, *inputs, use_reentrant=False)
