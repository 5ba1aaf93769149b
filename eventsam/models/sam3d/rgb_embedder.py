"""The RGB part of SAM 3D's condition embedder alone: the teacher of stage 1, without masks and pointmaps."""

from pathlib import Path
from typing import cast

from eventsam.models.embedder import ImageEmbedder
from eventsam.models.projection import Projection
from eventsam.models.sam3d.condition import IMAGE
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
    preset = read_preset(folder)
    condition = build_embedder(preset, folder, event_channels=None)
    teacher = _empty(preset)
    images = cast(ImageEncoder, condition.module_list[IMAGE])
    teacher.encoder.load_state(images.vit.state_dict(), source=str(folder))
    # The condition's net is a sequence of LayerNorm and feed-forward; its weights come in the same order.
    weights = condition.projection_nets[IMAGE].state_dict().values()
    teacher.projection.load_state_dict(dict(zip(teacher.projection.state_dict(), weights, strict=True)))
    return teacher


def _empty(preset: Sam3dPreset) -> ImageEmbedder:
    encoder = ImageEncoder(preset.encoder, preset.image_size)
    return ImageEmbedder(encoder, Projection(encoder.width, preset.condition_width, preset.hidden_multiple))
