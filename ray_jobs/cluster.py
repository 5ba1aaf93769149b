"""Joining a Ray cluster, or starting one on this machine; what a run asks of it is checked before it starts."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import ray

from ray_jobs import growth
from ray_jobs.data_plane import DataPlane

QUIET_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # A worker's report waits for the controller's next look; the default of 2 s makes every validation that slow.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


LOGICAL_CPUS = 4
"""The trainer and the readers of one run need them; on a laptop of two cores they take turns."""

CPUS_FOR_READING = 1
"""What the workers must leave free: readers that get no CPU are waited for in silence."""


@dataclass(frozen=True)
class Resources:
    """What one run asks of the cluster.

    With `num_workers` 0 the training runs in this very process (Ray Train's local mode): it starts at once and takes no
    memory twice, but nobody restarts it. Its data still come from Ray Data. A pair (least, most) is elastic: the run
    takes as many workers as the cluster has room for, looks again every `resize_every_s` and after every loss. `data`
    says which nodes read the samples, and how far ahead.
    """

    num_workers: int | tuple[int, int] = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    threads_per_worker: int = 0
    resize_every_s: float = 60.0
    data: DataPlane = field(default_factory=DataPlane)

    def __post_init__(self) -> None:
        if isinstance(self.num_workers, tuple) and not 1 <= self.num_workers[0] <= self.num_workers[1]:
            raise ValueError(f"num_workers {self.num_workers} is no range: write (least, most) with 1 <= least <= most")

    @property
    def min_workers(self) -> int:
        """The least number of workers that the run starts with."""
        return self.num_workers[0] if isinstance(self.num_workers, tuple) else self.num_workers

    @property
    def num_threads(self) -> int:
        """Torch threads per worker: as stated, else this machine's cores shared by the workers, were there the most.

        The same for every number of workers in a range: sums that threads share depend on how many there are.
        """
        return self.threads_per_worker or max(1, (os.cpu_count() or 1) // self.num_shares)

    @property
    def logical_cpus(self) -> int:
        """Logical CPUs of a cluster started for this run alone: readers only, where the trainer is this process."""
        return LOGICAL_CPUS if self.num_workers else 2

    @property
    def num_shares(self) -> int:
        """Into how many parts a global batch is cut, at most."""
        return max(1, self.num_workers[1] if isinstance(self.num_workers, tuple) else self.num_workers)


def parse_workers(text: str) -> int | tuple[int, int]:
    """Read a number of workers, or an elastic range as in `1-4`.

    Raises:
        ValueError: it is neither.
    """
    least, dash, most = text.partition("-")
    if not least.isdecimal() or (dash and not most.isdecimal()):
        raise ValueError(f"--workers {text!r} is no number of workers; write a number, or a range as in 1-4")
    return (int(least), int(most)) if dash else int(least)


@contextmanager
def connected(object_store_mib: int = 512, num_cpus: int = LOGICAL_CPUS) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start one here for the time of the block.

    A cluster started here has `num_cpus` logical CPUs, and no fewer than this machine's cores.
    """
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    # The workers write their own log files; only what the driver says belongs on a person's screen.
    settings = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    environment = {"env_vars": {name: os.environ[name] for name in QUIET_ENVIRONMENT}}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(runtime_env=environment, **settings)
    else:
        ray.init(
            # Not the cluster that some other program left running here.
            address="local",
            num_cpus=max(num_cpus, os.cpu_count() or 1),
            object_store_memory=object_store_mib * 2**20,
            include_dashboard=False,
            runtime_env=environment,
            **settings,
        )
    try:
        yield
    finally:
        ray.shutdown()


def check_resources(resources: Resources) -> None:
    """Refuse a run that the cluster can never place, leaving one CPU for the readers.

    Raises:
        ValueError: the sum does not fit; it is shown.
    """
    have, number = ray.cluster_resources(), resources.min_workers
    asked = (("CPU", resources.cpus_per_worker, CPUS_FOR_READING), ("GPU", resources.gpus_per_worker, 0))
    for name, per_worker, for_reading in asked:
        need = number * per_worker + for_reading
        if not growth.within(need, name, have):
            reading = f" + {for_reading} {name} for reading" if for_reading else ""
            raise ValueError(
                f"{number} workers x {per_worker:g} {name}{reading} = {need:g} {name}s, but the cluster has "
                f"{growth.shown(name, have)} (the head of an autoscaled cluster says what it can grow to in "
                f"{growth.VARIABLE})"
            )
