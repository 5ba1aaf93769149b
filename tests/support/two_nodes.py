"""A program for tests: a Ray of one node that trains and one that reads; a stream from one to the other.

Usage: python two_nodes.py FOLDER. Prints one JSON object: the node that trained, the different rows that each
node read, what was taken and how many samples the readers were ahead at most.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.train
from ray.cluster_utils import Cluster

from eventsam.catalog import Catalog, table_hash
from eventsam.events import Events
from eventsam.loading import Data, make_loader
from eventsam.order import Layout
from eventsam.representations.tencode import Tencode
from eventsam.windows import Window
from ray_jobs import pipeline, train
from ray_jobs.cluster import Resources, connected
from ray_jobs.data_plane import DataPlane, check_plane
from ray_jobs.streams import SizedStream

NUM_SAMPLES = 16 * 128
BATCH_SIZE = 32
STORE = 150 * 2**20
PLANE = DataPlane("ray-subcluster=reader", "role=trainer", reader_cpus=1, store_mib=4)


@dataclass(frozen=True)
class Placed:
    """A dataset of images of 3 x 64 x 64 pixels; who reads one leaves a file named after the node and the row."""

    seen: str
    name: str = "placed"
    sensor: str = "none"
    splits: tuple[str, ...] = ("train",)
    licence: str = "none"
    citation: str = "none"
    provides: tuple[str, ...] = ("rgb",)

    def index(self, root: Path) -> pa.Table:
        """List the rows."""
        ids = [f"s{number:05d}" for number in range(NUM_SAMPLES)]
        times = pa.array(range(NUM_SAMPLES), pa.int64())
        return pa.table(
            {"sample_id": ids, "object_id": ids, "shard": ["x"] * NUM_SAMPLES, "t_us": times,
             "exposure_start_us": times, "exposure_end_us": times, "num_events": times,
             "split": ["train"] * NUM_SAMPLES}
        )  # fmt: skip

    def read(self, root: Path, row: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
        """Return an image; say where it was read."""
        Path(self.seen, f"{ray.get_runtime_context().get_node_id()}-{row['t_us']}").touch()
        return {"rgb": np.zeros((3, 64, 64), np.uint8)}

    def events(self, root: Path, row: Mapping[str, Any], t0: int, t1: int) -> Events:
        """Return no events."""
        return Events.empty(4, 4)


def train_slowly(config: dict[str, Any]) -> dict[str, Any]:
    """Take every batch, slower than they are read; return where this ran and what the readers had read by then."""
    layout: Layout = config["stream"].layout(1)
    taken, ahead = 0, 0
    for batch in pipeline.batches(ray.train.get_dataset_shard("train"), layout, 0):
        taken += len(batch["position"])
        ahead = max(ahead, sum(1 for _ in Path(config["seen"]).iterdir()) - taken)
        time.sleep(0.1)
    return {"trainer": ray.get_runtime_context().get_node_id(), "taken": taken, "ahead": ahead}


def main(folder: Path) -> None:
    """Stream and print."""
    seen = folder / "seen"
    seen.mkdir(parents=True)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    head = {"num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False, "labels": {"role": "trainer"}}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=2, object_store_memory=STORE, labels={"ray-subcluster": "reader"})
    os.environ["RAY_ADDRESS"] = cluster.address
    dataset = Placed(str(seen))
    table = dataset.index(folder)
    data = Data("placed", "", Window(10.0), Tencode())
    catalog = Catalog(folder, "placed", table, table_hash(table))
    stream = SizedStream(
        make_loader(dataset, catalog, data, ("rgb",), seed=0, training=True), 0, NUM_SAMPLES, BATCH_SIZE
    )
    with connected():
        names = {node["NodeID"]: next(v for k, v in node["Labels"].items() if not k.startswith("ray.io/"))
                 for node in ray.nodes()}  # fmt: skip
        lines = check_plane(PLANE, 1, 1.0).lines(1.0)
        config = {"stream": stream, "seen": str(seen)}
        result = train._run(train_slowly, config, {"train": lambda: stream}, Resources(data=PLANE), folder, 0)
    read = Counter(names[path.name.split("-")[0]] for path in seen.iterdir())
    print(json.dumps(result | {"trainer": names[result["trainer"]], "read": read, "lines": lines}))
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
