"""Recipes: one module per runnable experiment; here, what those on rendered objects share."""

from typing import Any

from eventsam.loading import Data
from eventsam.representations.tencode import Tencode
from eventsam.spec import REQUIRED, spec
from eventsam.transforms.flip import HorizontalFlip
from eventsam.windows import Window


def rendered_objects(*prepare: Any) -> Any:
    """State the data of `eventsam catalog render`: Tencode of 10 ms, mirrored at random, then `prepare`."""
    return spec(
        Data,
        dataset="synthetic",
        root=REQUIRED,
        window=spec(Window, length_ms=10.0),
        representation=spec(Tencode),
        augment=(spec(HorizontalFlip),),
        prepare=prepare,
    )
