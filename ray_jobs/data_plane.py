"""Where samples are read and how far ahead: CPU nodes read and represent, GPU nodes train, within stated limits."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.data import ExecutionOptions, ExecutionResources

from eventsam.metrics_log import append_line
from ray_jobs import growth

log = logging.getLogger(__name__)

SUBCLUSTER = "ray-subcluster"
"""The label by which Ray Data also counts the nodes it may use: with any other, it counts CPUs it cannot reach."""
STORE_SHARE = 0.5
"""Of the object store, what Ray Data fills where nothing is stated."""
MIB = 2**20


@dataclass(frozen=True)
class DataPlane:
    """Which nodes read, which train, and what limits the reading.

    Args:
        readers: node label as in "ray-subcluster=reader": samples are read and represented on such nodes alone; empty:
            wherever the cluster has a CPU to spare.
        trainers: node label of the nodes that train; empty: any but the readers'.
        reader_cpus: blocks that are read at once, one CPU each; 0: as many as the cluster leaves.
        store_mib: MiB of the object store that blocks may fill, waiting or being read; 0: half of it.

    Raises:
        ValueError: a label is not written KEY=VALUE, both name the same nodes, or a limit is negative.
    """

    readers: str = ""
    trainers: str = ""
    reader_cpus: int = 0
    store_mib: int = 0

    def __post_init__(self) -> None:
        for name in ("reader_cpus", "store_mib"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed: 0 (no limit of our own) or more")
        if self.readers and selector(self.readers) == selector(self.trainers):
            raise ValueError(f"readers and trainers both stand on {self.readers!r}: leave both out to share nodes")
        # Ray Train asks for nodes outside every subcluster; with this label its workers would wait for ever.
        if SUBCLUSTER in selector(self.trainers):
            raise ValueError(f"trainers cannot be chosen by the label {SUBCLUSTER!r}: give those nodes another label")

    def execution_options(self) -> ExecutionOptions:
        """Return what Ray Data needs to know, in the order that the training relies on."""
        limits = ExecutionResources.for_limits(
            cpu=float(self.reader_cpus) if self.reader_cpus else None,
            object_store_memory=float(self.store_mib * MIB) if self.store_mib else None,
        )
        return ExecutionOptions(
            preserve_order=True, resource_limits=limits, label_selector=dict(selector(self.readers)) or None
        )

    def trainer_selector(self) -> dict[str, str] | None:
        """Return the label selector of Ray Train's workers, which leave the readers' nodes to the readers."""
        others = {key: f"!{value}" for key, value in selector(self.readers).items()}
        return dict(selector(self.trainers)) or others or None


@dataclass(frozen=True)
class Site:
    """What a data plane comes to on one cluster: nodes, CPUs and bytes of object store, as Ray counts them."""

    plane: DataPlane
    num_readers: int
    reader_cpus: float
    reader_store_bytes: float
    num_trainers: int
    trainer_cpus: float

    def lines(self, workers_cpus: float = 0.0) -> list[str]:
        """Say it in words; `workers_cpus` are the CPUs that the training takes, here or elsewhere."""
        shared = not self.plane.readers
        left = max(0.0, self.reader_cpus - (workers_cpus if shared else 0.0))
        at_once = min(left, self.plane.reader_cpus or left)
        fill = self.plane.store_mib or self.reader_store_bytes * STORE_SHARE / MIB
        store = self.reader_store_bytes / MIB
        where, others = (self.plane.readers, "any other node") if not shared else ("any node", "any node")
        return [
            f"reading on {self.num_readers} nodes ({where}): {left:g} CPUs, at most {at_once:g} blocks at once",
            f"blocks may fill {fill:,.0f} of {store:,.0f} MiB of object store; then reading waits",
            f"training on {self.num_trainers} nodes ({self.plane.trainers or others})"
            + ("" if shared else "; every block crosses the network once"),
        ]


def selector(label: str) -> Mapping[str, str]:
    """Return a label KEY=VALUE as Ray's selector; none for an empty one.

    Raises:
        ValueError: it is not written that way.
    """
    if not label:
        return {}
    key, equals, value = label.partition("=")
    if not (key and equals and value):
        raise ValueError(f"node label {label!r} is not written KEY=VALUE, as in {SUBCLUSTER}=reader")
    return {key: value}


def cpus_with(wanted: Mapping[str, str], nodes: Iterable[Mapping[str, Any]] | None = None) -> float:
    """Return the CPUs of the living nodes that a trainers' selector admits; a value "!v" admits all but v."""

    def admits(node: Mapping[str, Any]) -> bool:
        labels = _labels(node)
        return all(
            labels.get(key) != value[1:] if value.startswith("!") else labels.get(key) == value
            for key, value in wanted.items()
        )

    alive = (node for node in (ray.nodes() if nodes is None else nodes) if node["Alive"])
    return sum(float(node["Resources"].get("CPU", 0.0)) for node in alive if admits(node))


def site_of(plane: DataPlane, nodes: Iterable[Mapping[str, Any]] | None = None) -> Site:
    """Look at the connected cluster (or at `nodes` as `ray.nodes()` gives them).

    Raises:
        ValueError: no living node has a label that was asked for; the labels there are get listed.
    """
    alive = [node for node in (ray.nodes() if nodes is None else nodes) if node["Alive"]]
    readers = _labelled(alive, plane.readers, "readers")
    trainers = _labelled(alive, plane.trainers, "trainers")
    if plane.readers and not plane.trainers:
        trainers = [node for node in trainers if node not in readers]
    return Site(
        plane,
        len(readers),
        sum(node["Resources"].get("CPU", 0.0) for node in readers),
        sum(node["Resources"].get("object_store_memory", 0.0) for node in readers),
        len(trainers),
        sum(node["Resources"].get("CPU", 0.0) for node in trainers),
    )


def check_plane(plane: DataPlane, num_workers: int, cpus_per_worker: float) -> Site:
    """Refuse what the connected cluster cannot place; return what it comes to there.

    Raises:
        ValueError: a label without nodes, too few CPUs beside the workers or for them, or a limit beyond the store.
    """
    site = site_of(plane)
    need = num_workers * cpus_per_worker
    there = {"CPU": site.trainer_cpus}
    if (plane.readers or plane.trainers) and not growth.within(need, "CPU", there):
        raise ValueError(
            f"{num_workers} workers x {cpus_per_worker} CPU = {need} CPUs, but the {site.num_trainers} nodes with "
            f"{plane.trainers or 'no ' + plane.readers} have {growth.shown('CPU', there)}"
        )
    if plane.readers and site.reader_cpus < 1:
        raise ValueError(f"the {site.num_readers} nodes with {plane.readers} have no CPU to read with")
    if plane.store_mib * MIB > site.reader_store_bytes:
        raise ValueError(
            f"store_mib is {plane.store_mib}, but the object stores of the {site.num_readers} reading nodes hold "
            f"{site.reader_store_bytes / MIB:.0f} MiB"
        )
    return site


def write_site(folder: Path, site: Site, workers_cpus: float) -> None:
    """Write what the data plane comes to beside the run's records, in a line per start of the run."""
    record = {"time": time.time(), "lines": site.lines(workers_cpus)}
    append_line(folder / "data_plane.jsonl", record)
    log.info("%s", "; ".join(record["lines"]))


def _labelled(nodes: list[Mapping[str, Any]], label: str, role: str) -> list[Mapping[str, Any]]:
    wanted = selector(label)
    found = [node for node in nodes if wanted.items() <= _labels(node).items()]
    if not found:
        there = sorted({f"{k}={v}" for node in nodes for k, v in _labels(node).items() if not k.startswith("ray.io/")})
        raise ValueError(
            f"no living node has the {role}' label {label} (there are: {', '.join(there) or 'no labels'}); start one "
            f"with `ray start --labels {label} ...`, or give its node type `labels` and min_workers 1 in cluster.yaml"
        )
    return found


def _labels(node: Mapping[str, Any]) -> Mapping[str, str]:
    return node.get("Labels") or {}
