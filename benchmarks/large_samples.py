"""A generated dataset of the size that the large encoders read: VGA frames and windows of events, in flat files."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eventsam.catalog import Catalog, table_hash
from eventsam.events import Events
from eventsam.loading import Data, Loader, make_loader
from eventsam.representations.tencode import Tencode
from eventsam.transforms.flip import HorizontalFlip
from eventsam.transforms.resize import Resize
from eventsam.windows import Window

HEIGHT, WIDTH, IMAGE_SIZE = 480, 640, 518
NUM_EVENTS, WINDOW_MS = 20_000, 10.0
NUM_ROWS = 256
EVENT_BYTES = 13
"""x and y of 2 bytes, t of 8, p of 1."""


@dataclass(frozen=True)
class LargeSamples:
    """The catalog entry; `write` makes its files."""

    name: str = "large_samples"
    sensor: str = "generated, 480 x 640 pixels"
    splits: tuple[str, ...] = ("train",)
    licence: str = "none needed"
    citation: str = "none"
    provides: tuple[str, ...] = ("rgb", "events")

    def index(self, root: Path) -> pa.Table:
        """List the rows."""
        ids = [f"sample-{number:06d}" for number in range(NUM_ROWS)]
        times = pa.array([1_000_000 * (number + 1) for number in range(NUM_ROWS)], pa.int64())
        counts = pa.array([NUM_EVENTS] * NUM_ROWS, pa.int64())
        return pa.table(
            {"sample_id": ids, "object_id": ids, "shard": ["frames.npy"] * NUM_ROWS, "t_us": times,
             "exposure_start_us": times, "exposure_end_us": times, "num_events": counts,
             "split": ["train"] * NUM_ROWS}
        )  # fmt: skip

    def read(self, root: Path, row: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
        """Read one frame."""
        frames = np.load(root / "frames.npy", mmap_mode="r")
        return {"rgb": np.array(frames[_number(row)])}

    def events(self, root: Path, row: Mapping[str, Any], t0: int, t1: int) -> Events:
        """Read one window."""
        stored = np.array(np.load(root / "events.npy", mmap_mode="r")[_number(row)])
        return Events(stored["x"], stored["y"], stored["t"] + t0, stored["p"], HEIGHT, WIDTH)


def write(root: Path) -> None:
    """Write the frames and events of all rows, about 300 MB."""
    generator = np.random.Generator(np.random.PCG64(0))
    frames = np.lib.format.open_memmap(root / "frames.npy", "w+", np.uint8, (NUM_ROWS, 3, HEIGHT, WIDTH))
    kinds = np.dtype([("x", np.uint16), ("y", np.uint16), ("t", np.int64), ("p", np.uint8)])
    events = np.lib.format.open_memmap(root / "events.npy", "w+", kinds, (NUM_ROWS, NUM_EVENTS))
    for row in range(NUM_ROWS):
        frames[row] = generator.integers(0, 256, frames.shape[1:], np.uint8)
        events[row]["x"] = generator.integers(0, WIDTH, NUM_EVENTS)
        events[row]["y"] = generator.integers(0, HEIGHT, NUM_EVENTS)
        events[row]["t"] = np.sort(generator.integers(0, int(WINDOW_MS * 1000), NUM_EVENTS))
        events[row]["p"] = generator.integers(0, 2, NUM_EVENTS)
    frames.flush()
    events.flush()


def loader(root: Path) -> Loader:
    """Return what stage 1 reads of it for an encoder of 518 x 518 pixels: a frame and an event image."""
    dataset = LargeSamples()
    table = dataset.index(root)
    data = Data(
        dataset.name, str(root), Window(WINDOW_MS), Tencode(), augment=(HorizontalFlip(),),
        prepare=(Resize(IMAGE_SIZE, IMAGE_SIZE),),
    )  # fmt: skip
    catalog = Catalog(root, dataset.name, table, table_hash(table))
    return make_loader(dataset, catalog, data, ("rgb", "event_image"), seed=0, training=True)


def _number(row: Mapping[str, Any]) -> int:
    return int(row["sample_id"].rsplit("-", 1)[-1])
