"""Where a sweep's trials run: how many at once, with what each; checked against the cluster before the start."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.tune import PlacementGroupFactory

from ray_jobs.cluster import Resources
from ray_jobs.sweep_plan import PAUSING, Plan


@dataclass(frozen=True)
class Asked:
    """What a sweep asks of the cluster; `concurrent` 0 is as many trials as fit.

    With one worker a trial trains in its own process, which is used again for the next trial; with several, or with
    `launch`, by a Ray Train launch of its own for each of its seeds.
    """

    concurrent: int = 0
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    workers_per_trial: int = 1
    threads: int = 0
    launch: bool = False

    @property
    def executor(self) -> str:
        """Return which of the two executors trains: "in_trial" or "torch_trainer"."""
        return "torch_trainer" if self.launch or self.workers_per_trial > 1 else "in_trial"

    def num_cpus(self, num_seeds: int) -> int:
        """Return the logical CPUs that `concurrent` trials take, with those for reading."""
        if self.executor == "in_trial":
            return math.ceil(self.concurrent * self.cpus_per_trial) + 1
        return max(1, self.concurrent) * math.ceil(num_seeds * (self.workers_per_trial * self.cpus_per_trial + 1))


@dataclass(frozen=True)
class Placement:
    """How trials are placed: each takes `bundle`; a limit of 0 leaves it to the bundles how many run at once."""

    asked: Asked
    concurrent: int
    bundle: dict[str, float]
    limit: int
    resources: Resources
    words: str

    @property
    def factory(self) -> PlacementGroupFactory:
        """Return the bundle as Ray Tune takes it."""
        return PlacementGroupFactory([self.bundle])


def place(asked: Asked, plan: Plan) -> Placement:
    """Return how the plan's trials run on the connected cluster.

    Raises:
        ValueError: they do not fit; the sum is shown.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return (_in_trial if asked.executor == "in_trial" else _torch_trainer)(asked, plan, nodes)


def _in_trial(asked: Asked, plan: Plan, nodes: Sequence[dict[str, float]]) -> Placement:
    cpus, gpus = asked.cpus_per_trial, asked.gpus_per_trial
    fit = _slots(nodes, cpus, gpus)
    concurrent = asked.concurrent or max(1, min(fit, plan.num_trials, _real_cpus(cpus)))
    needs = f"{concurrent} trials x {cpus} CPU + 1 CPU for reading = {concurrent * cpus + 1} CPUs"
    needs += f" and {concurrent} x {gpus} GPU = {concurrent * gpus} GPUs" if gpus else ""
    if concurrent > fit:
        raise ValueError(f"{needs}, but the cluster has {_sum(nodes)}, where {fit} such trials fit")
    # Wider bundles keep the number of trials at `concurrent` without a limit of Ray Tune's own: that one would count
    # trials that a scheduler has paused, and would end processes that the next trial could have used.
    wide = max(cpu for cpu in _widths(nodes, cpus) if _slots(nodes, cpu, gpus) >= concurrent)
    limit = 0 if _slots(nodes, wide, gpus) == concurrent or plan.options.scheduler in PAUSING else concurrent
    bundle = {"CPU": wide} | ({"GPU": gpus} if gpus else {})
    threads = asked.threads or max(1, (os.cpu_count() or 1) // concurrent)
    words = f"{needs}; the cluster has {_sum(nodes)}"
    return Placement(asked, concurrent, bundle, limit, Resources(0, cpus, gpus, threads), words)


def _torch_trainer(asked: Asked, plan: Plan, nodes: Sequence[dict[str, float]]) -> Placement:
    fits, seeds = asked.workers_per_trial * plan.options.num_seeds, plan.options.num_seeds
    cpus, gpus = fits * asked.cpus_per_trial + seeds, fits * asked.gpus_per_trial
    have_cpus = sum(node.get("CPU", 0.0) for node in nodes)
    have_gpus = sum(node.get("GPU", 0.0) for node in nodes)
    fit = int(min(have_cpus / cpus, have_gpus / gpus if gpus else math.inf) + 1e-9)
    paused = plan.options.scheduler in PAUSING
    concurrent = plan.num_trials if paused else asked.concurrent or max(1, min(fit, plan.num_trials))
    seeded = f" x {seeds} seeds" if seeds > 1 else ""
    needs = (
        f"{concurrent} trials{seeded} x ({asked.workers_per_trial} workers x {asked.cpus_per_trial} CPU + 1 CPU for "
        f"reading) = {concurrent * cpus} CPUs"
    )
    needs += f" and {concurrent * gpus} GPUs" if gpus else ""
    if concurrent > fit:
        all_at_once = f"; --scheduler {plan.options.scheduler} with Ray Train workers runs all its trials at once"
        raise ValueError(f"{needs}, but the cluster has {_sum(nodes)}{all_at_once if paused else ''}")
    # The trial's own process only listens: no CPU that its workers could wait for.
    bundle = {"node:__internal_head__": 0.001}
    resources = Resources(asked.workers_per_trial, asked.cpus_per_trial, asked.gpus_per_trial, asked.threads)
    words = f"{needs}; the cluster has {_sum(nodes)}"
    return Placement(asked, concurrent, bundle, 0 if paused else concurrent, resources, words)


def _slots(nodes: Sequence[dict[str, float]], cpus: float, gpus: float) -> int:
    """Return how many trials fit beside one CPU for the readers, on the node that has the most."""
    total = 0
    largest = max(range(len(nodes)), key=lambda number: nodes[number].get("CPU", 0.0))
    for number, node in enumerate(nodes):
        have = node.get("CPU", 0.0) - (1.0 if number == largest else 0.0)
        slots = have / cpus
        if gpus:
            # A GPU holds whole trials where they need parts of it.
            slots = min(slots, int(node.get("GPU", 0.0)) * int(1 / gpus) if gpus <= 1 else node.get("GPU", 0.0) / gpus)
        total += max(0, int(slots + 1e-9))
    return total


def _widths(nodes: Sequence[dict[str, float]], least: float) -> list[float]:
    """Return the CPUs per trial worth trying: shares of every node's, and the least that will do."""
    widths = {least}
    for have in {node.get("CPU", 0.0) - spare for node in nodes for spare in (0.0, 1.0)}:
        widths |= {math.floor(have / parts * 1000) / 1000 for parts in range(1, int(have / least) + 1)}
    return [width for width in widths if width >= least]


def _real_cpus(cpus_per_trial: float) -> int:
    """Return how many trials the real cores of a laptop carry; a cluster's CPUs are taken at their word."""
    if os.environ.get("RAY_ADDRESS"):
        return 2**31
    return max(1, int((os.cpu_count() or 1) / cpus_per_trial))


def _sum(nodes: Sequence[dict[str, float]]) -> str:
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    return f"{cpus} CPUs and {gpus} GPUs on {len(nodes)} node{'s' * (len(nodes) > 1)}"
