"""Where fusions act: at chosen blocks of the RGB encoder, on its projected tokens, or at chosen generator blocks."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

import eventsam.models.fusion
from eventsam.models.checkpointing import checkpointed
from eventsam.models.reconstructor import FuseTokens
from eventsam.models.vit import Inject
from eventsam.unknown_name import unknown_name

FINAL = "final"
"""The place after the encoder: fusion acts once on the projected tokens."""


def fusion_names() -> list[str]:
    """Return the fusions there are: the modules of eventsam.models.fusion other than this one."""
    modules = (module.name for module in pkgutil.iter_modules(eventsam.models.fusion.__path__))
    return sorted(name for name in modules if name != "injected")


def fusion_class(name: str) -> type[nn.Module]:
    """Return the class of a fusion by its file's name: `gated` is GatedFusion in fusion/gated.py.

    The convention: file `some_name.py` holds `SomeNameFusion(width, num_heads)`, whose
    `forward(rgb_tokens, event_tokens)` returns RGB tokens, the same at initialisation, and whose `gates()` returns
    numbers for the log.
    Raises ValueError for an unknown name, with the nearest one, and for a file without its class.
    """
    names = fusion_names()
    if name not in names:
        raise ValueError(unknown_name("fusion", name, names))
    module = importlib.import_module(f"eventsam.models.fusion.{name}")
    class_name = "".join(part.capitalize() for part in name.split("_")) + "Fusion"
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"fusion file {module.__file__} has no class {class_name}")
    return cast(type[nn.Module], found)


def default_injection_blocks(num_blocks: int) -> tuple[int, ...]:
    """Return every third block counted back from the last: (2, 5, 8, ..., 23) of 24, (2, 5) of 6."""
    if num_blocks < 1:
        raise ValueError(f"num_blocks must be at least 1, got {num_blocks}")
    return tuple(range((num_blocks - 1) % 3, num_blocks, 3))


def has_events(event_image: Tensor) -> Tensor:
    """Return which of the event images (B, C, H, W) show any event: (B,) bool.

    Every representation shows an empty window as one value per channel: its background.
    """
    flat = event_image.flatten(2)
    return (flat.amax(dim=2) > flat.amin(dim=2)).any(dim=1)


def check_blocks(blocks: Sequence[int], num_blocks: int, owner: str = "encoder") -> tuple[int, ...]:
    """Return the blocks as a sorted tuple; raise ValueError for none, a repeated one or one that `owner` lacks."""
    if not blocks or len(set(blocks)) != len(blocks):
        raise ValueError(f"injection blocks must be one or more different blocks, got {tuple(blocks)}")
    outside = [block for block in blocks if not 0 <= block < num_blocks]
    if outside:
        raise ValueError(f"injection blocks {outside} out of range: the {owner} has blocks 0..{num_blocks - 1}")
    return tuple(sorted(blocks))


class Injected(nn.Module):
    """One fusion of a named type at each place: a list of blocks, or "final".

    Use: `events = event_encoder(event_image, taps=injected.taps)`, then give the reconstructor
    `inject=injected.inject(events.taps)` and `fuse_tokens=injected.fuse_tokens(projected_event_tokens)`; the one that
    does not apply is None. At blocks of a generator, `inject=injected.inject_condition(event_tokens)` instead. Give
    `num_blocks`, so that a block that the `owner` lacks is refused here and not passed by in silence; `blocks=None`
    means `default_injection_blocks(num_blocks)`.

    `present` (B,) bool says which samples have events (`has_events`). The others keep their RGB tokens to the last bit,
    so that what comes out for them is what RGB alone gives; None means all. With `checkpointing` set, a fusion's
    activations are computed again in the backward pass.
    """

    def __init__(
        self,
        fusion: str,
        width: int,
        blocks: Sequence[int] | Literal["final"] | None = None,
        num_heads: int = 8,
        num_blocks: int | None = None,
        owner: str = "encoder",
    ) -> None:
        super().__init__()
        if isinstance(blocks, str) and blocks != FINAL:
            raise ValueError(f"injection blocks must be a list of block numbers or {FINAL!r}, got {blocks!r}")
        if blocks is None and num_blocks is None:
            raise ValueError("the default injection blocks need num_blocks")
        if blocks is None:
            blocks = default_injection_blocks(cast(int, num_blocks))
        build = fusion_class(fusion)
        self.fusion_name = fusion
        self.checkpointing = False
        self.taps: tuple[int, ...] = ()
        if not isinstance(blocks, str):
            self.taps = check_blocks(blocks, max(blocks, default=0) + 1 if num_blocks is None else num_blocks, owner)
        places = [str(block) for block in self.taps] or [FINAL]
        self.fusions = nn.ModuleDict({place: build(width=width, num_heads=num_heads) for place in places})

    def forward(
        self,
        place: int | Literal["final"],
        rgb_tokens: Tensor,
        event_tokens: Tensor,
        present: Tensor | None = None,
    ) -> Tensor:
        """Fuse at one place: (B, N, D) with (B, M, D) to (B, N, D)."""
        fusion = self.fusions[str(place)]
        if self.checkpointing:
            fused = checkpointed(fusion, rgb_tokens, event_tokens)
        else:
            fused = fusion(rgb_tokens, event_tokens)
        if present is None:
            return fused
        # In the same type: what follows must not compute differently for samples that keep their tokens.
        return torch.where(present[:, None, None], fused.to(rgb_tokens.dtype), rgb_tokens)

    def inject(self, event_taps: Mapping[int, Tensor], present: Tensor | None = None) -> Inject | None:
        """Return the encoder's `inject` for these block outputs of the event encoder; None where fusion is final."""
        if not self.taps:
            return None
        missing = [block for block in self.taps if block not in event_taps]
        if missing:
            raise ValueError(f"no event tokens for injection blocks {missing}: tap the event encoder at {self.taps}")

        def fuse(block: int, tokens: Tensor) -> Tensor:
            return self(block, tokens, event_taps[block], present) if block in self.taps else tokens

        return fuse

    def fuse_tokens(self, event_tokens: Tensor, present: Tensor | None = None) -> FuseTokens | None:
        """Return the reconstructor's `fuse_tokens` for projected event tokens (B, M, D); None with fusion in blocks."""
        if self.taps:
            return None
        return lambda tokens: self(FINAL, tokens, event_tokens, present)

    def inject_condition(
        self, event_tokens: Tensor, present: Tensor | None = None, num_queries: int | None = None
    ) -> Inject | None:
        """Return a generator's `inject`, which changes its condition tokens before chosen blocks; None where final.

        Event tokens (B, M, D) are the same at every block; the changes add up over blocks. The first `num_queries`
        condition tokens are fused, the others pass; None fuses all.
        """
        if not self.taps:
            return None

        def fuse(block: int, condition: Tensor) -> Tensor:
            if block not in self.taps:
                return condition
            count = condition.shape[1] if num_queries is None else num_queries
            fused = self(block, condition[:, :count], event_tokens, present).to(condition.dtype)
            return torch.cat([fused, condition[:, count:]], dim=1)

        return fuse

    def gates(self) -> dict[str, float]:
        """Return every fusion's numbers for the log, named "<block>/<gate>"."""
        return {
            f"{place}/{name}": value
            for place, fusion in self.fusions.items()
            for name, value in fusion.gates().items()  # type: ignore[operator]
        }
