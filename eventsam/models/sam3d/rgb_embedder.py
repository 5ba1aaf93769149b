"""The RGB part of SAM 3D's condition embedder alone: the teacher of stage 1, without masks and pointmaps."""

from pathlib import Path
from typing import cast

from eventsam.models.embedder import ImageEmbedder
from eventsam.models.projection import Projection
from eventsam.models.sam3d.condition import IMAGE, ConditionEmbedder
from eventsam.models.sam3d.folder import read_preset
from eventsam.models.sam3d.model import build_embedder
from eventsam.models.sam3d.presets import Sam3dPreset
from eventsam.models.vit import ImageEncoder


def sam3d_rgb_embedder(checkpoint: str | Path) -> ImageEmbedder:
    """Return the image encoder and its projection from the folder that `eventsam convert sam3d` wrote.

    Raises:
        FileNotFoundError: the folder or the embedder in it is not there.
        ValueError: its weights do not have the sizes that it states.
    """
    folder = Path(checkpoint)
    return rgb_embedder_of(build_embedder(read_preset(folder), folder, event_channels=None))


def rgb_embedder_of(condition: ConditionEmbedder) -> ImageEmbedder:
    """Return a copy of a condition embedder's image encoder and projection."""
    teacher = _empty(condition.preset)
    images = cast(ImageEncoder, condition.module_list[IMAGE])
    source = images.is_initialised_from
    teacher.encoder.load_state(images.vit.state_dict(), source=source or f"untrained {images.preset}")
    teacher.encoder.is_initialised_from = source
    # The condition's net is a sequence of LayerNorm and feed-forward; its weights come in the same order.
    weights = condition.projection_nets[IMAGE].state_dict().values()
    teacher.projection.load_state_dict(dict(zip(teacher.projection.state_dict(), weights, strict=True)))
    return teacher


def _empty(preset: Sam3dPreset) -> ImageEmbedder:
    encoder = ImageEncoder(preset.encoder, preset.image_size)
    return ImageEmbedder(encoder, Projection(encoder.width, preset.condition_width, preset.hidden_multiple))
