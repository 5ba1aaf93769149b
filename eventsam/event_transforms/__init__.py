"""Events to events: augmentations and filters, frozen dataclasses called with events and an explicit Generator."""

from eventsam.event_transforms.background_activity import BackgroundActivityFilter
from eventsam.event_transforms.crop import CropEvents, RandomCropEvents
from eventsam.event_transforms.drop_area import DropArea
from eventsam.event_transforms.drop_events import DropEvents
from eventsam.event_transforms.drop_time_span import DropTimeSpan
from eventsam.event_transforms.event_transform import EventTransform, apply_transforms
from eventsam.event_transforms.flip import FlipEvents
from eventsam.event_transforms.hot_pixels import HotPixelFilter, HotPixels
from eventsam.event_transforms.jitter_time import JitterTime
from eventsam.event_transforms.motion_compensation import MotionCompensation
from eventsam.event_transforms.polarity import DropPolarity, FlipPolarity
from eventsam.event_transforms.refractory import RefractoryFilter
from eventsam.event_transforms.reverse_time import ReverseTime
from eventsam.event_transforms.scale import ScaleEvents
from eventsam.event_transforms.scale_time import ScaleTime
from eventsam.event_transforms.undistort import Undistort

__all__ = [
    "BackgroundActivityFilter",
    "CropEvents",
    "DropArea",
    "DropEvents",
    "DropPolarity",
    "DropTimeSpan",
    "EventTransform",
    "FlipEvents",
    "FlipPolarity",
    "HotPixelFilter",
    "HotPixels",
    "JitterTime",
    "MotionCompensation",
    "RandomCropEvents",
    "RefractoryFilter",
    "ReverseTime",
    "ScaleEvents",
    "ScaleTime",
    "Undistort",
    "apply_transforms",
]
