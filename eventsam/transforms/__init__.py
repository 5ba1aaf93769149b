"""Sample to sample augmentations: frozen dataclasses called with a sample and an explicit numpy Generator."""

from eventsam.transforms.align import AlignToView
from eventsam.transforms.blur import GaussianBlur, MotionBlur
from eventsam.transforms.crop import ObjectCrop, RandomCrop
from eventsam.transforms.flip import HorizontalFlip
from eventsam.transforms.full_view import FullView
from eventsam.transforms.masks import MaskJitter, RandomMaskSource
from eventsam.transforms.resize import Resize
from eventsam.transforms.transform import Transform
from eventsam.transforms.wavelet import WaveletSplit

__all__ = [
    "AlignToView",
    "FullView",
    "GaussianBlur",
    "HorizontalFlip",
    "MaskJitter",
    "MotionBlur",
    "ObjectCrop",
    "RandomCrop",
    "RandomMaskSource",
    "Resize",
    "Transform",
    "WaveletSplit",
]
