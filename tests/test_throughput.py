"""The pipeline's model: its parts alone, together, and what measuring a reader gives."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from eventsam.catalog import Catalog, table_hash
from eventsam.events import Events
from eventsam.loading import Data, make_loader
from eventsam.representations.tencode import Tencode
from eventsam.throughput import Pipeline, ReaderCost, measure_reader, readers_needed, simulate, with_readers
from eventsam.windows import Window

COST = ReaderCost(seconds=0.004, bytes=30_000)
BALANCED = Pipeline(COST, num_readers=4, trainer_rate=500.0, samples_per_block=100, block_latency_s=0.1)


@pytest.mark.parametrize(
    ("changes", "binding", "rate"),
    [
        ({}, "training", 500.0),
        # A block takes 0.4 s and 0.1 s until the next: 200 samples/s and reader.
        ({"num_readers": 1}, "reading", 200.0),
        ({"num_readers": 2}, "reading", 400.0),
        ({"wire_bytes_per_s": 6e6}, "wire", 200.0),
        # One block at a time: 0.4 s to read, 0.2 s to train on; its reader is ready again long before.
        ({"store_bytes": 3e6}, "store", 100 / 0.6),
        ({"num_trainers": 2}, "reading", 800.0),
    ],
)
def test_the_slowest_part_decides(changes: dict[str, Any], binding: str, rate: float) -> None:
    predicted = simulate(replace(BALANCED, **changes))
    assert predicted.binding == binding
    assert predicted.samples_per_s == pytest.approx(rate, rel=0.02)
    assert predicted.samples_per_s <= predicted.limits["training"] * 1.001


def test_no_part_alone_is_exceeded_whatever_the_spread() -> None:
    for spread in (0.0, 0.3, 1.0):
        for readers in (1, 3, 5, 9):
            noisy = replace(BALANCED, num_readers=readers, reader=replace(COST, spread=spread))
            predicted = simulate(noisy, rounds=400)
            assert predicted.samples_per_s <= 1.1 * min(noisy.limits().values())


def test_spread_costs_throughput_where_reading_and_training_are_level() -> None:
    level = replace(BALANCED, num_readers=5, trainer_rate=1000.0, store_bytes=12 * 3e6)
    calm = simulate(level, rounds=400).samples_per_s
    assert simulate(replace(level, reader=replace(COST, spread=0.8)), rounds=400).samples_per_s < 0.95 * calm


def test_trainers_that_wait_say_how_long() -> None:
    assert simulate(with_readers(BALANCED, 1)).waiting_share == pytest.approx(0.6, abs=0.02)
    assert simulate(BALANCED).waiting_share == pytest.approx(0.0, abs=0.01)


def test_the_store_is_filled_as_far_as_it_goes_and_no_further() -> None:
    fast = replace(BALANCED, num_readers=20, store_bytes=10 * 3e6)
    assert simulate(fast).peak_store_bytes == pytest.approx(10 * 3e6)


def test_cores_needed_suffice_and_fewer_do_not() -> None:
    needed = readers_needed(BALANCED, headroom=1.0)
    assert needed == 3
    assert simulate(with_readers(BALANCED, needed)).samples_per_s == pytest.approx(500, rel=0.01)
    assert simulate(with_readers(BALANCED, needed - 1)).samples_per_s < 450
    assert readers_needed(replace(BALANCED, num_trainers=1000)) == 2750


def test_more_readers_are_not_asked_for_where_they_would_not_help() -> None:
    with pytest.raises(ValueError, match="the wire allows 33 samples/s, the trainers take 500"):
        readers_needed(replace(BALANCED, wire_bytes_per_s=1e6))


def test_a_store_without_room_for_a_round_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold one block of 3000000 bytes for each of 4 trainers"):
        replace(BALANCED, num_trainers=4, store_bytes=9e6)


@dataclass(frozen=True)
class Files:
    """A dataset whose samples are 4096 bytes of a file."""

    name: str = "files"
    sensor: str = "none"
    splits: tuple[str, ...] = ("train",)
    licence: str = "none"
    citation: str = "none"
    provides: tuple[str, ...] = ("rgb",)

    def index(self, root: Path) -> pa.Table:
        ids = [f"s{number}" for number in range(40)]
        times = pa.array(range(40), pa.int64())
        return pa.table(
            {"sample_id": ids, "object_id": ids, "shard": ["x"] * 40, "t_us": times, "exposure_start_us": times,
             "exposure_end_us": times, "num_events": times, "split": ["train"] * 40}
        )  # fmt: skip

    def read(self, root: Path, row: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
        data = np.frombuffer((root / "x").read_bytes(), np.uint8)
        return {"rgb": data[: 3 * 16 * 16].reshape(3, 16, 16)}

    def events(self, root: Path, row: Mapping[str, Any], t0: int, t1: int) -> Events:
        return Events.empty(4, 4)


def test_a_reader_is_measured_in_seconds_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(4096))
    table = Files().index(tmp_path)
    data = Data("files", "", Window(10.0), Tencode())
    loader = make_loader(
        Files(), Catalog(tmp_path, "files", table, table_hash(table)), data, ("rgb",), seed=0, training=True
    )
    cost = measure_reader(loader, 64, samples_per_block=16)
    assert 0 < cost.seconds < 1
    assert 0 <= cost.cpu_seconds < 1
    # The image, and the two int64 that say which sample it is.
    assert cost.bytes == 3 * 16 * 16 + 16
    assert math.isnan(cost.disk_bytes) or 4096 <= cost.disk_bytes < 3 * 4096
    with pytest.raises(ValueError, match="at least one block of 32"):
        measure_reader(loader, 5)
