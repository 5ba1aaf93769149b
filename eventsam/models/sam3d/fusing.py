"""Which fusion of events acts where in the SAM-3D-shaped model: the choice, and the module it builds."""

from dataclasses import dataclass
from typing import Literal, get_args

from eventsam.models.fusion.injected import Injected, default_injection_blocks, fusion_names
from eventsam.models.sam3d.presets import Sam3dPreset
from eventsam.models.vit import PRESETS as ENCODERS
from eventsam.unknown_name import unknown_name

Place = Literal["encoder", "tokens", "generator"]
"""At blocks of the RGB encoder, on its projected tokens, or at blocks of the generator."""

Queries = Literal["image", "all"]
"""Which condition tokens ask the events inside the generator: those of the images, or all."""


@dataclass(frozen=True)
class Fusing:
    """One fusion of a named type at one place.

    "tokens" and "encoder" treat crop and full frame alike, with the same fuser. `blocks` None means every third
    encoder block counted from the last, or (0, 2, 4, 6) of 24 generator blocks. `queries` is read inside the generator.
    Gated fusion pairs tokens one to one, so there it takes image tokens alone.

    Raises ValueError for unknown names and for combinations that cannot work.
    """

    fusion: str = "flamingo"
    place: Place = "encoder"
    blocks: tuple[int, ...] | None = None
    queries: Queries = "image"
    num_heads: int = 8

    def __post_init__(self) -> None:
        for what, name, allowed in (
            ("fusion", self.fusion, fusion_names()),
            ("place of fusion", self.place, get_args(Place)),
            ("queries", self.queries, get_args(Queries)),
        ):
            if name not in allowed:
                raise ValueError(unknown_name(what, name, allowed))
        if self.place == "tokens" and self.blocks is not None:
            raise ValueError(f"fusion of the projected tokens takes no blocks, got {self.blocks}")
        if (self.fusion, self.place, self.queries) == ("gated", "generator", "all"):
            raise ValueError("gated fusion pairs tokens one to one: inside the generator it needs queries='image'")

    def build(self, preset: Sam3dPreset) -> Injected:
        """Build the fusers for a model of these sizes; raise ValueError for a block that it lacks."""
        encoder = ENCODERS[preset.encoder]
        if self.place == "tokens":
            return Injected(self.fusion, preset.condition_width, "final", self.num_heads)
        if self.place == "encoder":
            blocks = default_injection_blocks(encoder.num_blocks) if self.blocks is None else self.blocks
            return Injected(self.fusion, encoder.width, blocks, self.num_heads, encoder.num_blocks)
        blocks = default_generator_blocks(preset.num_blocks) if self.blocks is None else self.blocks
        return Injected(
            self.fusion, preset.condition_width, blocks, self.num_heads, preset.num_blocks, owner="generator"
        )


def default_generator_blocks(num_blocks: int) -> tuple[int, ...]:
    """Return every second block of the first third: (0, 2, 4, 6) of 24, (0,) of 4."""
    return tuple(range(0, max(num_blocks // 3, 1), 2))
