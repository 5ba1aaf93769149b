"""What a report is made of: plain numbers and small arrays, checked when they are put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LossRecord = Mapping[str, float]
"""One logged step: `step` and any numbers; `loss`, `data_wait_s`, `step_s` and `samples` are drawn by name."""


@dataclass(frozen=True)
class ResultRow:
    """One cell of the result table: a metric's mean over held-out objects with its 95 % interval."""

    input: str
    blur: str
    metric: str
    mean: float
    low: float
    high: float
    num_objects: int
    seed: int


@dataclass(frozen=True)
class GroupRow:
    """One cell of a table by object, category or seen and unseen: `grouping` says which, `group` its name."""

    grouping: str
    group: str
    input: str
    blur: str
    metric: str
    mean: float
    low: float
    high: float
    num_objects: int
    seed: int


@dataclass(frozen=True)
class Difference:
    """The paired difference `first` minus `second` over the same objects, with its 95 % interval."""

    first: str
    second: str
    blur: str
    metric: str
    mean: float
    low: float
    high: float
    num_objects: int
    seed: int


@dataclass(frozen=True)
class Share:
    """The share of the gap between blurry and sharp RGB that an input closes; None where there is no gap to divide."""

    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SampleRow:
    """One held-out sample as shown: pictures, and the shape reconstructed from every input.

    `images` are uint8 (3, H, W), `occupancies` bool (R, R, R) in the view frame, the ground truth under "truth";
    `scores` are vIoU values by input, shown below the shapes.
    """

    title: str
    blur: str
    images: Mapping[str, NDArray[np.uint8]]
    occupancies: Mapping[str, NDArray[np.bool_]]
    scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, image in self.images.items():
            if image.dtype != np.uint8 or image.ndim != 3 or len(image) != 3:
                raise ValueError(f"{self.title}: image {name} is {image.dtype} {image.shape}, expected uint8 (3, H, W)")
        for name, grid in self.occupancies.items():
            if grid.dtype != np.bool_ or grid.ndim != 3 or len(set(grid.shape)) != 1:
                raise ValueError(
                    f"{self.title}: occupancy {name} is {grid.dtype} {grid.shape}, expected bool (R, R, R)"
                )


@dataclass(frozen=True)
class AttentionRow:
    """Where teacher and student look in one sample: `images` uint8 (3, H, W) as each sees it, `maps` (L, h, w) float32.

    Both have the keys "teacher" and "student"; map i is block `blocks[i]`'s, of mean 1.
    """

    title: str
    blocks: tuple[int, ...]
    images: Mapping[str, NDArray[np.uint8]]
    maps: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        for name in ("teacher", "student"):
            image, maps = self.images[name], self.maps[name]
            if image.dtype != np.uint8 or image.ndim != 3 or len(image) != 3:
                raise ValueError(f"{self.title}: image {name} is {image.dtype} {image.shape}, expected uint8 (3, H, W)")
            if maps.ndim != 3 or len(maps) != len(self.blocks):
                raise ValueError(f"{self.title}: maps of {name} are {maps.shape}, expected ({len(self.blocks)}, h, w)")


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; whatever is empty is left out of it.

    `groups` are tables by object or category; `pooled_rows` and `pooled_differences` speak of several runs together
    (their seeds mean nothing). `gap_closed` maps input to blur to share, for the inputs between the two bounds.
    `losses` maps a stage's name to its records in step order. `seconds` are wall clock per stage, without a total.
    `commands` are shown word for word; `hashes` name code, recipe and catalog; `facts` are short lines on what was run
    (object counts, presets); `notes` are sentences, the verdict first.
    """

    title: str
    subtitle: str = ""
    rows: Sequence[ResultRow] = ()
    differences: Sequence[Difference] = ()
    gap_closed: Mapping[str, Mapping[str, Share]] = field(default_factory=dict)
    losses: Mapping[str, Sequence[LossRecord]] = field(default_factory=dict)
    samples: Sequence[SampleRow] = ()
    groups: Sequence[GroupRow] = ()
    pooled_rows: Sequence[ResultRow] = ()
    pooled_differences: Sequence[Difference] = ()
    attention: Sequence[AttentionRow] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    commands: Sequence[str] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for stage, records in self.losses.items():
            for place, record in enumerate(records):
                if "step" not in record:
                    raise ValueError(f"record {place} of stage {stage!r} has no 'step' (it has {', '.join(record)})")
        for row in self.rows:
            if row.low > row.high:
                raise ValueError(f"{row.input}, {row.blur}, {row.metric}: interval [{row.low}, {row.high}] is reversed")


def training_report(
    title: str,
    losses: Mapping[str, Sequence[LossRecord]],
    *,
    seconds: Mapping[str, float] | None = None,
    peak_memory_bytes: int | None = None,
    commands: Sequence[str] = (),
    hashes: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
) -> ReportData:
    """Return the report of one training run: its logged records and where they come from."""
    return ReportData(
        title=title,
        losses=losses,
        seconds=seconds or {},
        peak_memory_bytes=peak_memory_bytes,
        commands=commands,
        hashes=hashes or {},
        facts=facts or {},
    )
