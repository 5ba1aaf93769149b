"""Foreign encoder weights made to fit: DINOv2 names, another image size, other input channels, clear refusals."""

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

State = dict[str, Tensor]


class Sizes(Protocol):
    """What tells one encoder's weights from another's."""

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""

    @property
    def width(self) -> int:
        """Token width."""

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""


def fit_state(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    grid: tuple[int, int],
    source: str,
    presets: Mapping[str, Sizes],
) -> State:
    """Return `state` under the names and shapes of `own` (a timm vision transformer's state on a `grid` of patches).

    Raises ValueError naming the source, the missing, unexpected and misshapen weights and the preset they look like.
    """
    fitted = from_dinov2(state) if "register_tokens" in state else dict(state)
    if "pos_embed" in fitted and "pos_embed" in own:
        fitted["pos_embed"] = resample_positions(fitted["pos_embed"], grid)
    kernel = "patch_embed.proj.weight"
    if kernel in fitted and kernel in own:
        fitted[kernel] = adapt_channels(fitted[kernel], own[kernel].shape[1])
    missing = sorted(own.keys() - fitted.keys())
    unexpected = sorted(fitted.keys() - own.keys())
    misshapen = [
        f"{name} {tuple(fitted[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(own.keys() & fitted.keys())
        if fitted[name].shape != own[name].shape
    ]
    if missing or unexpected or misshapen:
        faults = {"missing": missing, "unexpected": unexpected, "other shape": misshapen}
        told = "; ".join(f"{kind}: {_shorten(names)}" for kind, names in faults.items() if names)
        raise ValueError(f"{source} does not fit this encoder: {told}. {_looks_like(fitted, presets)}")
    return fitted


def from_dinov2(state: Mapping[str, Tensor]) -> State:
    """Rename DINOv2's own checkpoint keys to timm's.

    There, the position map also has an entry for CLS (none for registers); here positions belong to patches only, so
    that entry is added into the CLS token, which gives the same sums. The mask token is used in pre-training only.
    """
    renamed = dict(state)
    renamed.pop("mask_token", None)
    renamed["reg_token"] = renamed.pop("register_tokens")
    if "pos_embed" in renamed and "cls_token" in renamed:
        positions = renamed.pop("pos_embed")
        renamed["cls_token"] = renamed["cls_token"] + positions[:, :1]
        renamed["pos_embed"] = positions[:, 1:]
    return renamed


def to_dinov2(state: Mapping[str, Tensor]) -> State:
    """Rename timm's keys to DINOv2's own; the inverse of `from_dinov2` up to the split of CLS and its position.

    CLS gets a position of zero and the mask token is zero.
    """
    renamed = dict(state)
    renamed["register_tokens"] = renamed.pop("reg_token")
    cls_token, positions = renamed["cls_token"], renamed["pos_embed"]
    renamed["pos_embed"] = torch.cat([torch.zeros_like(cls_token), positions], dim=1)
    renamed["mask_token"] = torch.zeros_like(cls_token[0])
    return renamed


def resample_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample patch positions (1, n^2, D) of a square grid to another grid, bicubic with antialiasing."""
    if positions.ndim != 3 or math.isqrt(positions.shape[1]) ** 2 != positions.shape[1]:
        return positions  # no square grid: the shape check refuses it by name
    resampled: Tensor = resample_abs_pos_embed(positions, new_size=list(grid), num_prefix_tokens=0)
    return resampled


def adapt_channels(kernel: Tensor, channels: int) -> Tensor:
    """Adapt a patch embedding (D, C, P, P) to another number of input channels.

    Every new channel gets the sum of the given kernels divided by the new count: an image with one value in all
    channels gives the response it gave before. Colour contrasts mean nothing to time bins or polarities, so they go.
    """
    if kernel.ndim != 4 or kernel.shape[1] == channels:
        return kernel
    return kernel.sum(dim=1, keepdim=True).repeat(1, channels, 1, 1) / channels


def _shorten(names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _looks_like(state: State, presets: Mapping[str, Sizes]) -> str:
    kernel = state.get("patch_embed.proj.weight")
    blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    if kernel is None or kernel.ndim != 4 or not blocks:
        return "These are no vision transformer's weights."
    width, patch, depth = kernel.shape[0], kernel.shape[-1], len(blocks)

    def distance(item: tuple[str, Sizes]) -> tuple[float, int, int]:
        sizes = item[1]
        return abs(math.log(sizes.width / width)), abs(sizes.num_blocks - depth), abs(sizes.patch - patch)

    nearest = min(presets.items(), key=distance)[0]
    return f"They have width {width}, {depth} blocks, patch {patch}; nearest preset: {nearest!r}."
