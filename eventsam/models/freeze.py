"""Modules that can be frozen for good: no gradient for their parameters, and no way back into train mode."""

from typing import Self

from torch import nn


class Freezable(nn.Module):
    """A module whose `freeze()` outlives a parent's `train()`.

    `nn.Module.train` reaches every child, so a frozen teacher inside a task would otherwise wake up again (its dropout
    of modalities included) each time the engine starts an epoch. Gradients still flow *through* a frozen module to its
    inputs, which is what a fusion inside a frozen encoder needs.
    """

    frozen: bool = False

    def freeze(self) -> Self:
        """Put the module and all its children into eval mode for good and stop their parameters' gradients."""
        self.requires_grad_(False)
        self.frozen = True
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set train mode, or stay in eval mode when frozen."""
        return super().train(mode and not self.frozen)
