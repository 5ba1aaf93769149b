"""A small job on a local Ray of several logical nodes, whose workers and nodes are killed on a seeded schedule."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from datasets_catalog import load_dataset
from eventsam.catalog import write_catalog
from eventsam.faults.step_watch import Watching
from eventsam.metrics_log import MetricsLog
from eventsam.simulate.objects import render_object, shard_path
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.sources import procedural_sources
from eventsam.spec import REQUIRED, Spec, get, replace
from ray_jobs.chaos_plan import Done, Kill, compare, with_returns
from ray_jobs.cluster import QUIET_ENVIRONMENT, Resources
from ray_jobs.retry import Retries
from ray_jobs.train import Keeping, launch

log = logging.getLogger(__name__)

RENDERED = RenderSettings(height=32, width=32, num_frames=52, samples_per_trajectory=2, occupancy_resolution=16)
SMALL = {
    "task.model.preset": "micro", "task.model.image_size": 32, "task.model.resolution": 8,
    "data.prepare.0.resolution": 8, "data.prepare.2.height": 32, "data.prepare.2.width": 32,
    "budget.global_batch_size": 12,
}  # fmt: skip
"""The recipe `reconstruct`, cut to what two cores train in a moment, on objects of 32 pixels."""

NODE_BACK_S = 3.0
"""When a killed node is replaced, in seconds after its end."""


@dataclass(frozen=True)
class Job:
    """What is trained, how wide, and how long its steps are at least."""

    recipe: Spec
    num_workers: int
    num_nodes: int
    least_step_s: float

    @property
    def cpus_per_node(self) -> int:
        """Room for all workers and readers on the nodes that are left when one is lost."""
        others = max(1, self.num_nodes - 1)
        return -(-self.num_workers // others) + 1


def small_job(recipe: Spec, folder: Path, num_steps: int, checkpoint_every: int) -> Spec:
    """Return the recipe with the length of a chaos run; without data of its own, on a few objects rendered here.

    Raises:
        ValueError: the recipe has no data, and is not one that the rendered objects serve.
    """
    if get(recipe, "data.root") == REQUIRED:
        if not get(recipe, "task.model") or get(recipe, "data.dataset") != "synthetic":
            raise ValueError("the recipe reads a dataset of its own: give it with --set data.root=CATALOG")
        for path, value in SMALL.items():
            recipe = replace(recipe, path, value)
        recipe = replace(recipe, "data.root", str(_rendered(folder / "catalog")))
    length = num_steps * int(get(recipe, "budget.global_batch_size"))
    for path, value in {
        "budget.num_samples": length, "budget.log_every": 1, "budget.checkpoint_every": checkpoint_every,
    }.items():  # fmt: skip
        recipe = replace(recipe, path, value)
    return recipe


def _rendered(root: Path) -> Path:
    if not (root / "catalog.json").exists():
        for name, source in procedural_sources(8).items():
            render_object(name, source, RENDERED, shard_path(root, name))
        write_catalog(load_dataset("synthetic"), root, {"settings": RENDERED.to_json()})
    return root


@dataclass
class Nodes:
    """A Ray head without a CPU, where the driver and its controller live, and nodes that may be killed."""

    cluster: Cluster
    cpus_per_node: int
    alive: list[Any] = field(default_factory=list)
    due: list[float] = field(default_factory=list)

    def add(self) -> None:
        """Start a node; in the main thread alone."""
        self.alive.append(self.cluster.add_node(num_cpus=self.cpus_per_node, object_store_memory=120 * 2**20))

    def kill(self, pick: float) -> str:
        """Kill all processes of a node at once; it is replaced after a while."""
        node = self.alive.pop(int(pick * len(self.alive)))
        self.cluster.remove_node(node, allow_graceful=False)
        self.due.append(time.monotonic() + NODE_BACK_S)
        return f"node {node.node_id[:8]}"

    def replace_due(self) -> None:
        """Start the nodes whose time has come."""
        while self.due and self.due[0] <= time.monotonic():
            self.due.pop(0)
            self.add()


@contextmanager
def local_nodes(job: Job) -> Iterator[Nodes]:
    """Start a Ray of its own on this machine, and join it.

    Raises:
        ValueError: this process has joined a Ray already.
    """
    if ray.is_initialized():
        raise ValueError("chaos starts a Ray of its own, but this process has joined one already")
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray.data", "ray.train", "ray.cluster_utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    head = {"num_cpus": 0, "object_store_memory": 120 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = Nodes(cluster, job.cpus_per_node)
        for _ in range(job.num_nodes):
            nodes.add()
        environment = {name: os.environ[name] for name in QUIET_ENVIRONMENT} | {"RAY_ADDRESS": cluster.address}
        ray.init(
            cluster.address, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": environment}
        )
        yield nodes
    finally:
        ray.shutdown()
        cluster.shutdown()


def run_chaos(job: Job, folder: Path, name: str, kills: tuple[Kill, ...]) -> dict[str, Any]:
    """Train calmly (or take the calm run that is in `folder`), then again under kills, and compare.

    Raises:
        ValueError: as `launch` does.
        Exception: whatever ended a run that should have got through.
    """
    calm, chaos = folder / "calm", folder / name
    with local_nodes(job) as nodes:
        if not (calm / "finished").exists():
            _train(job, calm, 0)
            (calm / "finished").touch()
        started = time.time()
        errors: list[BaseException] = []
        thread = threading.Thread(target=_target, args=(job, chaos, len(kills), errors), name="chaos run", daemon=True)
        thread.start()
        done = _kill(nodes, thread, chaos, kills)
        thread.join()
        launch_s = time.time() - started
    if errors:
        raise errors[0]
    size = int(get(job.recipe, "budget.global_batch_size"))
    report = compare(calm, chaos, size, with_returns(done, chaos), launch_s)
    for kill in report["kills"]:
        kill["at_s"] = round(kill["at_s"] - started, 2)
    return {**report, "kills_planned": len(kills), "workers": job.num_workers, "nodes": job.num_nodes}


def _target(job: Job, folder: Path, num_kills: int, errors: list[BaseException]) -> None:
    try:
        _train(job, folder, num_kills)
    except BaseException as error:  # raised again by the one who waits
        errors.append(error)


def _train(job: Job, folder: Path, num_kills: int) -> None:
    resources = Resources(job.num_workers, threads_per_worker=1)
    watching = Watching(least_step_s=job.least_step_s)
    # Every kill may cost several starts: a lost node is counted on for half a minute after its end.
    retries = Retries(restarts=3 + 3 * num_kills, relaunches=3 + num_kills)
    launch(job.recipe, folder, resources, keeping=Keeping(audit=True), retries=retries, watching=watching)


def _kill(nodes: Nodes, run: threading.Thread, folder: Path, kills: tuple[Kill, ...]) -> list[Done]:
    """Carry the kills out while the run lasts; the clock of each starts with the one before it."""
    done: list[Done] = []
    log_file = MetricsLog(folder / "metrics.jsonl")
    while run.is_alive() and log_file.newest() is None:
        time.sleep(0.05)
    last = time.time()
    for kill in kills:
        while run.is_alive() and time.time() - last < kill.after_s:
            nodes.replace_due()
            time.sleep(0.05)
        name = None
        while run.is_alive() and name is None:
            nodes.replace_due()
            name = _strike(nodes, kill)
            time.sleep(0.05)
        if name is None:
            break
        newest, last = log_file.newest(), time.time()
        done.append(Done(kill, last, int(newest["step"]) if newest else 0, name, None))
        log.info("killed %s", name)
    while run.is_alive():
        nodes.replace_due()
        time.sleep(0.05)
    return done


def _strike(nodes: Nodes, kill: Kill) -> str | None:
    """Kill a victim; None where there is none at the moment, as between two starts."""
    if kill.victim == "node" and nodes.alive:
        return nodes.kill(kill.pick)
    workers = training_workers()
    if not workers:
        return None
    victim = workers[int(kill.pick * len(workers))]
    try:
        os.kill(victim.pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return f"worker {victim.pid}"


def training_workers() -> list[psutil.Process]:
    """Return the processes of Ray Train workers below this one, oldest first."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()[:1]):
                found.append((child.create_time(), child.pid, child))
        except psutil.NoSuchProcess:
            continue
    return [child for *_, child in sorted(found, key=lambda each: each[:2])]
