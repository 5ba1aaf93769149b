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
    """How trials are placed: each takes `bundle`; a limit of 0 leaves it to the bundles how many run at once.

    Their samples are read by tasks of `reader_cpus` each, for which the bundles leave room.
    """

    asked: Asked
    concurrent: int
    bundle: dict[str, float]
    limit: int
    resources: Resources
    words: str
    reader_cpus: float = 1.0

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
    fit = _slots(nodes, cpus, gpus, spare=1.0)
    concurrent = asked.concurrent or max(1, min(fit, plan.num_trials, _real_cpus(cpus)))
    needs = f"{concurrent} trials x {cpus} CPU + 1 CPU for reading = {concurrent * cpus + 1} CPUs"
    needs += f" and {concurrent} x {gpus} GPU = {concurrent * gpus} GPUs" if gpus else ""
    if concurrent > fit:
        raise ValueError(f"{needs}, but the cluster has {_sum(nodes)}, where {fit} such trials fit")
    # HyperBand and population based training wait for trials that are paused: those must not count against a limit.
    pausing = plan.options.scheduler in PAUSING
    wide, reader_cpus = _width(nodes, cpus, gpus, concurrent, pausing)
    limit = 0 if pausing or _slots(nodes, wide, gpus) == concurrent else concurrent
    bundle = {"CPU": wide} | ({"GPU": gpus} if gpus else {})
    resources = Resources(0, cpus, gpus, asked.threads or _threads(concurrent, wide))
    words = f"{needs}; the cluster has {_sum(nodes)}"
    return Placement(asked, concurrent, bundle, limit, resources, words, reader_cpus)


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
    threads = asked.threads or _threads(concurrent * fits, asked.cpus_per_trial)
    resources = Resources(asked.workers_per_trial, asked.cpus_per_trial, asked.gpus_per_trial, threads)
    words = f"{needs}; the cluster has {_sum(nodes)}"
    return Placement(asked, concurrent, bundle, 0 if paused else concurrent, resources, words)


def _slots(nodes: Sequence[dict[str, float]], cpus: float, gpus: float, spare: float = 0.0) -> int:
    """Return how many trials fit, beside `spare` CPUs for the readers on the node that has the most."""
    largest = max(range(len(nodes)), key=lambda number: nodes[number].get("CPU", 0.0))
    return sum(_on_node(node, cpus, gpus, spare if number == largest else 0.0) for number, node in enumerate(nodes))


def _on_node(node: dict[str, float], cpus: float, gpus: float, spare: float = 0.0) -> int:
    slots = (node.get("CPU", 0.0) - spare) / cpus
    if gpus:
        # A GPU holds whole trials where they need parts of it.
        slots = min(slots, int(node.get("GPU", 0.0)) * int(1 / gpus) if gpus <= 1 else node.get("GPU", 0.0) / gpus)
    return max(0, int(slots + 1e-9))


def _width(
    nodes: Sequence[dict[str, float]], least: float, gpus: float, concurrent: int, unlimited: bool
) -> tuple[float, float]:
    """Return the CPUs that a trial's bundle takes, and those that are left for each reader.

    The narrowest bundle of which no more than `concurrent` fit, where there is one, keeps their number without a limit
    of Ray Tune's own: that one counts paused trials too, and ends processes that the next trial could have used. Some
    CPU is always left, where trials are `unlimited` also at the price of fewer at once: readers that get none are
    waited for in silence.
    """
    widths = {least: _left(nodes, least, gpus)}
    for have in {node.get("CPU", 0.0) for node in nodes}:
        for parts in range(2, int(have / least) + 1):
            width = math.floor(have / parts * 1000 + 1) / 1000  # one part less fits
            widths[width] = _left(nodes, width, gpus)
    roomy = [width for width, left in widths.items() if left > 0]
    enough = [width for width in roomy if _slots(nodes, width, gpus) >= concurrent]
    wide = max(enough, default=min(roomy) if unlimited and roomy else least)
    return wide, min(1.0, widths[wide]) or 1.0


def _left(nodes: Sequence[dict[str, float]], width: float, gpus: float) -> float:
    """Return the most CPUs, in whole thousandths, that full nodes leave to readers on one of them."""
    return max(
        math.floor((node.get("CPU", 0.0) - _on_node(node, width, gpus) * width) * 1000 + 1e-6) / 1000 for node in nodes
    )


def _threads(places: int, cpus: float) -> int:
    """Return the torch threads of each of so many processes: this machine's cores shared, or a cluster's CPUs."""
    return max(1, int(cpus) if os.environ.get("RAY_ADDRESS") else (os.cpu_count() or 1) // places)


def _real_cpus(cpus_per_trial: float) -> int:
    """Return how many trials the real cores of a laptop carry; a cluster's CPUs are taken at their word."""
    if os.environ.get("RAY_ADDRESS"):
        return 2**31
    return max(1, int((os.cpu_count() or 1) / cpus_per_trial))


def _sum(nodes: Sequence[dict[str, float]]) -> str:
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    return f"{cpus} CPUs and {gpus} GPUs on {len(nodes)} node{'s' * (len(nodes) > 1)}"
