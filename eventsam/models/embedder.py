"""An image encoder with its projection: what the condition holds of one camera, RGB or events."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from eventsam.models.freeze import Freezable
from eventsam.models.projection import Projection
from eventsam.models.vit import ImageEncoder


class Embedded(NamedTuple):
    """`projected` (B, 1 + patches, D) tokens, and block outputs `taps[i]` (B, N, D)."""

    projected: Tensor
    taps: dict[int, Tensor]


class ImageEmbedder(Freezable):
    """Encoder and projection of one image stream (SAM 3D's condition embedder, arXiv 2511.16624)."""

    def __init__(self, encoder: ImageEncoder, projection: Projection) -> None:
        super().__init__()
        self.encoder, self.projection = encoder, projection

    def forward(self, image: Tensor, taps: tuple[int, ...] = ()) -> Embedded:
        """Embed (B, C, H, W)."""
        encoded = self.encoder(image, taps=taps)
        return Embedded(self.projection(encoded.tokens), encoded.taps)

    def student(self, in_channels: int) -> "ImageEmbedder":
        """Return an embedder of the same sizes for images of `in_channels`, started from this one's weights."""
        encoder = ImageEncoder(self.encoder.preset, self.encoder.image_size, in_channels)
        encoder.copy_weights(self.encoder)
        projection = Projection(self.projection.in_width, self.projection.width, self.projection.hidden_multiple)
        projection.load_state_dict(self.projection.state_dict())
        return ImageEmbedder(encoder, projection)


def pretrained_embedder(
    preset: str, weights: str | Path, image_size: int = 518, hidden_multiple: int = 256
) -> ImageEmbedder:
    """Build an embedder around an encoder with weights from a safetensors file, such as DINOv2's.

    Only the encoder has weights there; the projection starts at random, which is right for a teacher whose blocks alone
    are matched.
    """
    encoder = ImageEncoder(preset, image_size, weights=weights)
    return ImageEmbedder(encoder, Projection(encoder.width, encoder.width, hidden_multiple))
