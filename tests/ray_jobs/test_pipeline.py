"""The stream's order: the same global batches for any number of workers, and from any position on."""

import sys
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from eventsam.catalog import Catalog, table_hash
from eventsam.events import Events
from eventsam.loading import Data, make_loader
from eventsam.order import Layout
from eventsam.representations.tencode import Tencode
from eventsam.windows import Window
from ray_jobs import pipeline


@dataclass(frozen=True)
class Counting:
    """A dataset whose images show their row's number."""

    name: str = "counting"
    sensor: str = "none"
    splits: tuple[str, ...] = ("train", "val")
    licence: str = "none"
    citation: str = "none"
    provides: tuple[str, ...] = ("rgb",)

    def index(self, root: Path) -> pa.Table:
        ids = [f"s{number:03d}" for number in range(97)]
        times = pa.array(range(97), pa.int64())
        return pa.table(
            {"sample_id": ids, "object_id": ids, "shard": ["x"] * 97, "t_us": times, "exposure_start_us": times,
             "exposure_end_us": times, "num_events": times, "split": ["train"] * 80 + ["val"] * 17}
        )  # fmt: skip

    def read(self, root: Path, row: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
        return {"rgb": np.full((3, 4, 4), row["t_us"], np.uint8)}

    def events(self, root: Path, row: Mapping[str, Any], t0: int, t1: int) -> Events:
        return Events.empty(4, 4)


def global_batches(start: int, stop: int, num_workers: int) -> list[list[int]]:
    """Stream positions [start, stop) to `num_workers` consumers and return the rows of each global batch."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    dataset = Counting()
    table = dataset.index(Path())
    catalog = Catalog(Path(), "counting", table, table_hash(table))
    data = Data("counting", "", Window(10.0), Tencode())
    loader = make_loader(dataset, catalog, data, ("rgb",), seed=3, training=True)
    layout = Layout(start, stop, global_batch_size=12, num_workers=num_workers, batches_per_block=3)
    shards = pipeline.stream(loader, layout).streaming_split(num_workers, equal=True)
    taken: list[list[list[int]]] = [[] for _ in range(num_workers)]

    def consume(rank: int) -> None:
        for batch in pipeline.batches(shards[rank], layout, rank):
            assert (batch["rgb"][:, 0, 0, 0] == batch["sample_index"]).all()
            taken[rank].append(batch["sample_index"].tolist())

    threads = [threading.Thread(target=consume, args=(rank,)) for rank in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [list(chain.from_iterable(parts)) for parts in zip(*taken, strict=True)]


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestStream:
    """Ray Data under the order contract."""

    def test_global_batches_do_not_depend_on_the_number_of_workers(self) -> None:
        alone = global_batches(0, 300, 1)
        assert len(alone) == 25
        assert global_batches(0, 300, 2) == alone
        assert global_batches(0, 300, 3) == alone

    def test_resume_continues_at_the_next_sample_with_other_workers(self) -> None:
        alone = global_batches(0, 300, 1)
        assert global_batches(84, 300, 3) == alone[7:]

    def test_an_epoch_shows_every_sample_once(self) -> None:
        rows = list(chain.from_iterable(global_batches(0, 300, 2)))
        assert sorted(rows[:80]) == list(range(80))
        assert sorted(rows[80:160]) == list(range(80))
        assert rows[:80] != rows[80:160]
