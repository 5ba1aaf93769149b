"""The image tower of a CLIP model, through the optional package open_clip; weights come from a file alone."""

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from eventsam.models.freeze import Freezable

UNI3D_CLIP = "EVA02-E-14-plus"
"""The model whose features Uni3D was trained to match (laion2b_s9b_b144k)."""


class ClipImages(Freezable):
    """Images to CLIP features, frozen.

    `name` is open_clip's, `weights` a safetensors file of the whole CLIP model. Raises ModuleNotFoundError where
    open_clip is not installed and FileNotFoundError without the file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path, name: str = UNI3D_CLIP) -> None:
        super().__init__()
        check_installed()
        import open_clip  # the one optional package: the rest of the project works without it

        if not Path(weights).is_file():
            raise FileNotFoundError(f"no CLIP weights at {weights}: a safetensors file of {name} is needed")
        model = open_clip.create_model(name)
        model.load_state_dict(load_file(weights))
        self.visual = model.visual
        size = self.visual.image_size
        self.image_size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)
        for key, values in (("mean", self.visual.image_mean), ("std", self.visual.image_std)):
            self.register_buffer(key, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, D) of images (B, 3, H, W), uint8 or float in [0, 1], resized to the model's input."""
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        resized = F.interpolate(scaled, self.image_size, mode="bicubic", antialias=True).clamp(0, 1)
        return self.visual((resized - self.mean) / self.std)  # type: ignore[no-any-return]


def check_installed() -> None:
    """Raise ModuleNotFoundError, saying how to install it, where open_clip is missing."""
    if find_spec("open_clip") is None:
        raise ModuleNotFoundError('Uni3D similarity needs open_clip for its images: pip install "eventsam[uni3d]"')
