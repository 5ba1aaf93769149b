"""The image encoder under DINOv2's own parameter names, as SAM 3D's checkpoints hold it."""

from collections.abc import Mapping

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from eventsam.models.vit import PRESETS, EncoderPreset, ImageEncoder, build_transformer
from eventsam.models.vit_weights import fit_state, from_dinov2, to_dinov2


class DinoBackbone(nn.Module):
    """A vision transformer whose parameters carry DINOv2's names.

    Against timm's, the position map has an entry for CLS, registers are `register_tokens`, and there is the mask token
    of pre-training, which nothing reads: kept, so that a checkpoint goes in and comes out whole.
    """

    def __init__(self, transformer: VisionTransformer) -> None:
        super().__init__()
        cls_token, positions = transformer.cls_token.detach(), transformer.pos_embed.detach()
        self.cls_token = nn.Parameter(cls_token)
        self.register_tokens = nn.Parameter(transformer.reg_token.detach())
        self.mask_token = nn.Parameter(torch.zeros_like(cls_token[0]), requires_grad=False)
        self.pos_embed = nn.Parameter(torch.cat([torch.zeros_like(cls_token), positions], dim=1))
        self.patch_embed, self.blocks, self.norm = transformer.patch_embed, transformer.blocks, transformer.norm

    def _pos_embed(self, patches: Tensor) -> Tensor:
        """Put CLS and registers before patches (B, N, D); registers have no position."""
        batch = len(patches)
        cls_token = (self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1)
        registers = self.register_tokens.expand(batch, -1, -1)
        return torch.cat([cls_token, registers, patches + self.pos_embed[:, 1:]], dim=1)


class DinoEncoder(ImageEncoder):
    """An image encoder whose state is `backbone.*` in DINOv2's own names (SAM 3D's `module_list.<k>`)."""

    def _add_network(self, sizes: EncoderPreset) -> None:
        self.backbone = DinoBackbone(build_transformer(sizes, self.image_size, self.in_channels))

    @property
    def vit(self) -> nn.Module:  # type: ignore[override]
        """The transformer."""
        return self.backbone

    def load_state(self, state: Mapping[str, Tensor], source: str) -> None:
        """Take over an encoder's weights in timm's or DINOv2's names, fitted to this size; see `ImageEncoder`.

        Weights of exactly this size and these names go in unchanged by `load_state_dict`.
        """
        fitted = fit_state(state, from_dinov2(self.backbone.state_dict()), self.grid, source, PRESETS)
        self.backbone.load_state_dict(to_dinov2(fitted))
        self.is_initialised_from = source
