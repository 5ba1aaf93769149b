"""Elastic runs: which numbers of workers a recipe allows, and a Ray Train that starts with no other."""

import logging
from typing import Any

import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy

from eventsam.engine import Budget
from ray_jobs.cluster import CPUS_FOR_READING, Resources
from ray_jobs.data_plane import cpus_with

log = logging.getLogger(__name__)


def allowed_sizes(resources: Resources, budget: Budget) -> tuple[int, ...]:
    """Return the numbers of workers within the range that share a global batch equally, its micro-batches included.

    Those that do not are skipped with a message: the cluster may offer them, the run will use fewer.

    Raises:
        ValueError: there are none.
    """
    asked = range(max(1, resources.min_workers), resources.num_shares + 1)
    size = budget.global_batch_size
    fitting = tuple(number for number in asked if size % (number * budget.micro_batches) == 0)
    if not fitting:
        micro = f" in {budget.micro_batches} micro-batches" if budget.micro_batches > 1 else ""
        number = str(asked[0]) if len(asked) == 1 else f"{asked[0]} to {asked[-1]}"
        allowed = [str(n) for n in range(1, size + 1) if size % (n * budget.micro_batches) == 0]
        raise ValueError(
            f"global_batch_size {size}{micro} cannot be shared equally by {number} workers (allowed: "
            f"{', '.join(allowed) or 'none'})"
        )
    skipped = [str(number) for number in asked if number not in fitting]
    if skipped:
        log.warning(
            "global_batch_size %d is not shared equally by %s workers: the run uses %s",
            size, " or ".join(skipped), " or ".join(map(str, fitting)),
        )  # fmt: skip
    return fitting


class DivisibleScaling(ElasticScalingPolicy):
    """Ray Train's elastic scaling, held to the allowed numbers of workers, with a CPU left over for reading."""

    def __init__(self, scaling_config: ScalingConfig, sizes: tuple[int, ...]) -> None:
        super().__init__(scaling_config)
        self.sizes = sizes

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        # The reservation may hold every CPU of the cluster: a run whose readers have none waits for ever.
        cpus = self.scaling_config.resources_per_worker["CPU"]
        wanted = self.scaling_config.label_selector
        free = cpus_with(wanted) if wanted else ray.cluster_resources().get("CPU", 0.0) - CPUS_FOR_READING
        room = free / cpus
        possible = min(super()._count_possible_workers(reserved_resources), int(room + 1e-9))
        return max((size for size in self.sizes if size <= possible), default=0)


class ElasticTorchTrainer(TorchTrainer):
    """A TorchTrainer whose elastic range has gaps."""

    def __init__(self, *arguments: Any, sizes: tuple[int, ...], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.sizes = sizes

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        # Ray makes the policy itself and takes no other: this is the one place where it can be exchanged.
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = DivisibleScaling(self.scaling_config, self.sizes)
        return super()._initialize_and_run_controller(**parts)
