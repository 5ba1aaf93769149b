"""Trains on a cluster of several nodes on this machine and takes nodes away; a program: a driver has one cluster."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2
from tests_support import small_recipe

from eventsam.metrics_log import MetricsLog
from ray_jobs.audit import sizes_used
from ray_jobs.cluster import QUIET_ENVIRONMENT, Resources
from ray_jobs.termination import ask_to_stop
from ray_jobs.train import Keeping, launch

BATCH_SIZE = 12
TIMEOUT_S = 400


def num_steps(folder: Path) -> int:
    """Return the last step that the run's log knows of."""
    newest = MetricsLog(folder / "metrics.jsonl").newest()
    return int(newest["step"]) if newest else 0


class Nodes:
    """A head of one CPU, where samples are read, and nodes of two CPUs, each of which holds one training worker."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.cluster.add_node(num_cpus=1, object_store_memory=150 * 2**20, include_dashboard=False)
        environment = {name: os.environ[name] for name in QUIET_ENVIRONMENT}
        environment |= {"RAY_ADDRESS": self.cluster.address, "PYTHONPATH": ":".join(sys.path)}
        ray.init(address=self.cluster.address, log_to_driver=False, runtime_env={"env_vars": environment})

    def add(self) -> Any:
        """Start a node; in the main thread, where Ray sets its signals."""
        node = self.cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20)
        self.cluster.wait_for_nodes()
        return node

    def lose(self, node: Any) -> None:
        """Kill a node's processes."""
        self.cluster.remove_node(node, allow_graceful=False)


class Training:
    """A launch in a thread of its own."""

    def __init__(self, root: Path, folder: Path, resources: Resources, steps: int, checkpoint_every: int = 3) -> None:
        changes = {"budget.num_samples": steps * BATCH_SIZE, "budget.checkpoint_every": checkpoint_every}
        recipe = small_recipe("reconstruct", root, **changes)
        self.folder, self.error, self.status = folder, "", ""

        def train() -> None:
            try:
                self.status = launch(recipe, folder, resources, keeping=Keeping(audit=True)).status
            except BaseException as error:  # told by the main thread
                self.error = f"{type(error).__name__}: {error}"

        self.thread = threading.Thread(target=train, daemon=True)
        self.thread.start()

    def wait_until(self, happened: Callable[[], bool], what: str) -> None:
        """Wait for something while the training goes on."""
        deadline = time.monotonic() + TIMEOUT_S
        while not happened():
            if not self.thread.is_alive() or time.monotonic() > deadline:
                raise SystemExit(f"before {what}, after step {num_steps(self.folder)}: {self.error or self.status}")
            time.sleep(0.05)

    def wait_for_steps(self, more: int) -> None:
        """Wait until the run got further than it is now."""
        goal = num_steps(self.folder) + more
        self.wait_until(lambda: num_steps(self.folder) >= goal, f"step {goal}")

    def wait_for_size(self, size: int) -> None:
        """Wait until as many workers take samples."""
        file = self.folder / "consumed.jsonl"
        self.wait_until(lambda: file.exists() and sizes_used(self.folder)[-1] == size, f"{size} workers")

    def end(self) -> None:
        """Wait for the end and say how it came."""
        self.thread.join(TIMEOUT_S)
        if not self.status:
            raise SystemExit(f"no end after step {num_steps(self.folder)}: {self.error}")
        print(self.status)


def lose_one(nodes: Nodes, root: Path, folder: Path) -> None:
    """Kill the one worker's node in the middle of a run; another node comes."""
    lost = nodes.add()
    training = Training(root, folder, Resources(1, 2.0, threads_per_worker=1), 24)
    training.wait_for_steps(8)
    nodes.lose(lost)
    nodes.add()
    training.end()


def drain_one(nodes: Nodes, root: Path, folder: Path) -> None:
    """Give notice that the worker's node is about to be taken away, and take it: no checkpoint falls due by itself."""
    spot = nodes.add()
    training = Training(root, folder, Resources(1, 2.0, threads_per_worker=1), 100_000, checkpoint_every=0)
    training.wait_for_steps(10)
    deadline_s = 20
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, message = GcsClient(address=nodes.cluster.address).drain_node(
        spot.node_id, reason, "the spot market", int((time.time() + deadline_s) * 1000)
    )
    if not accepted:
        raise SystemExit(message)
    training.wait_until(lambda: any((folder / "checkpoints").glob("step_*")), "the checkpoint that the notice asks for")
    nodes.add()
    time.sleep(deadline_s)
    nodes.lose(spot)
    training.wait_until(lambda: len(training_starts(folder)) > 1, "the second start")
    ask_to_stop(folder, "interrupted")
    training.end()


def training_starts(folder: Path) -> list[int]:
    """Return the steps at which the run's workers began to take samples."""
    starts, last = [], -1
    for line in (folder / "consumed.jsonl").read_text().splitlines():
        step = json.loads(line)["position"] // BATCH_SIZE
        if step != last + 1 or last < 0:
            starts.append(step)
        last = step
    return starts


def shrink_and_grow(nodes: Nodes, root: Path, folder: Path) -> None:
    """1 -> 2 -> 1 workers in one launch: a node comes, and is killed."""
    nodes.add()
    resources = Resources((1, 3), 2.0, threads_per_worker=1, resize_every_s=3.0)
    training = Training(root, folder, resources, 100_000)
    training.wait_for_steps(10)
    second = nodes.add()
    training.wait_for_size(2)
    training.wait_for_steps(10)
    nodes.lose(second)
    training.wait_for_size(1)
    training.wait_for_steps(10)
    ask_to_stop(folder, "interrupted")
    training.end()


if __name__ == "__main__":
    os.environ.update(QUIET_ENVIRONMENT, RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="15")
    started = Nodes()
    scenarios = {"lose_one": lose_one, "drain_one": drain_one, "shrink_and_grow": shrink_and_grow}
    scenarios[sys.argv[1]](started, Path(sys.argv[2]), Path(sys.argv[3]))
    ray.shutdown()
    started.cluster.shutdown()
