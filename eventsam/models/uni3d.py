"""Uni3D's point encoder (arXiv 2310.06773): point clouds to the feature space of a CLIP image tower."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eventsam.models.freeze import Freezable
from eventsam.models.point_groups import GroupEncoder, group_points
from eventsam.models.sam3d.foreign_file import read_torch_file, wrapped_state
from eventsam.unknown_name import unknown_name

PREFIXES = ("module.", "point_encoder.")
"""What released checkpoints put before the encoder's names, outermost first."""
UNREAD = ("visual.patch_embed.", "visual.cls_token", "visual.pos_embed", "visual.reg_token", "visual.rope.",
          "visual.head.", "visual.mask_token")  # fmt: skip
"""Parts of timm's image model that come along in a checkpoint and see no points."""
OTHER = ("logit_scale",)
"""Entries beside the encoder."""


@dataclass(frozen=True)
class Uni3dSize:
    """One released size: timm's name of the transformer and its width."""

    transformer: str
    width: int
    encoder_width: int = 512
    num_groups: int = 512
    group_size: int = 64
    embedding: int = 1024


SIZES: Mapping[str, Uni3dSize] = {
    "tiny": Uni3dSize("eva02_tiny_patch14_224", 192),
    "small": Uni3dSize("eva02_small_patch14_224", 384),
    "base": Uni3dSize("eva02_base_patch14_448", 768),
    "large": Uni3dSize("eva02_large_patch14_448", 1024),
    "giant": Uni3dSize("eva_giant_patch14_560", 1408),
}


class Uni3dEncoder(Freezable):
    """Groups of points as tokens of an EVA transformer; the class token's output is the shape's feature.

    Names of parameters are those of released checkpoints, so that loading is strict. Raises ValueError for an unknown
    size.
    """

    def __init__(self, size: str = "base") -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(unknown_name("Uni3D size", size, SIZES))
        self.size, sizes = size, SIZES[size]
        self.num_groups, self.group_size = sizes.num_groups, sizes.group_size
        self.encoder = GroupEncoder(sizes.encoder_width)
        self.encoder2trans = nn.Linear(sizes.encoder_width, sizes.width)
        self.trans2embed = nn.Linear(sizes.width, sizes.embedding)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, sizes.width))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, sizes.width))
        self.visual = _transformer(sizes)

    def forward(self, points: Tensor, colours: Tensor) -> Tensor:
        """Return features (B, 1024) of points (B, N, 3), centred and of unit radius, with colours (B, N, 3) in [0, 1].

        Raises ValueError for fewer points than groups or group members.
        """
        groups = group_points(points, colours, self.num_groups, self.group_size)
        tokens = self.encoder2trans(self.encoder(groups.features)) + self.pos_embed(groups.centres)
        first = (self.cls_token + self.cls_pos).expand(len(tokens), -1, -1)
        tokens = torch.cat([first, tokens], dim=1)
        for block in self.visual["blocks"].children():
            # Without rotary positions: a point's place is in its token.
            tokens = block(tokens)
        feature = self.visual["fc_norm"](self.visual["norm"](tokens[:, 0]))
        return self.trans2embed(feature)  # type: ignore[no-any-return]


def load_uni3d(path: str | Path, size: str) -> Uni3dEncoder:
    """Return the encoder with weights from a safetensors file, in eval mode and frozen.

    Raises FileNotFoundError without a file, ValueError naming missing, unexpected and misshapen entries.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no Uni3D weights at {path}: convert_uni3d makes them from a released checkpoint")
    # Without memory first: drawing a billion weights that are then replaced takes longer than reading them.
    with torch.device("meta"):
        encoder = Uni3dEncoder(size)
    state = encoder_state(load_file(path), encoder.state_dict(), f"{path}, size {size!r}")
    encoder.load_state_dict(state, assign=True)
    for module in encoder.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                # Attention's keys have no bias: a buffer of zeros that no checkpoint holds.
                module.register_buffer(name, torch.zeros(buffer.shape), persistent=False)
    return encoder.freeze()


def encoder_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by the encoder's names, cast to its dtypes.

    The prefixes of `PREFIXES` are taken off and the entries of `UNREAD` and `OTHER` left out; everything else must fit.
    Raises ValueError naming what does not.
    """
    renamed = {_encoder_name(name): tensor for name, tensor in state.items()}
    found = {n: t for n, t in renamed.items() if not n.startswith(UNREAD) and n not in OTHER}
    faults = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "misshapen": [
            f"{name} {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ],
    }
    if any(faults.values()):
        shown = "; ".join(f"{kind}: {', '.join(names[:8])} ({len(names)})" for kind, names in faults.items() if names)
        raise ValueError(f"{source} does not hold this Uni3D encoder: {shown}")
    return {name: found[name].to(tensor.dtype) for name, tensor in expected.items()}


def convert_uni3d(checkpoint: Path, out: Path) -> None:
    """Write a released checkpoint's tensors, which lie below "module", as safetensors under their own names.

    Nothing that the file may hold besides is run. Raises ValueError naming the file where they are not there.
    """
    state = wrapped_state(read_torch_file(checkpoint), checkpoint, "module")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Cloned: tensors of one file may share memory, which safetensors refuses.
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, out)


def _encoder_name(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _transformer(sizes: Uni3dSize) -> nn.ModuleDict:
    """The blocks and last norms of timm's image transformer, without what looks at images."""
    image_model = timm.create_model(sizes.transformer, pretrained=False, num_classes=0)
    parts = {name: getattr(image_model, name) for name in ("blocks", "norm", "fc_norm")}
    return nn.ModuleDict(parts)
