"""What trains: published figures of GPUs, this machine's CPU as a short calibration finds it, and a cluster's nodes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml

from eventsam.unknown_name import unknown_name

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """What one worker computes with; rates are those that real training reaches, not peaks.

    `float32_flops` and `bfloat16_flops` are per second, `bandwidth` is bytes per second, `op_s` the seconds that
    launching one operation takes, `memory` bytes.
    """

    name: str
    float32_flops: float
    bfloat16_flops: float
    bandwidth: float
    op_s: float
    memory: float

    def flops(self, precision: str) -> float:
        """Return the rate of multiplications and additions at a recipe's precision."""
        return self.bfloat16_flops if precision == "bfloat16" else self.float32_flops


REACHED_FLOPS, REACHED_BANDWIDTH, LAUNCH_S = 0.35, 0.7, 8e-6
"""The shares of a data sheet's peaks that transformer training usually reaches, and a launch from PyTorch."""


def _gpu(name: str, float32_tflops: float, bfloat16_tflops: float, gb_per_s: float, memory_gib: float) -> Device:
    flops, bandwidth = REACHED_FLOPS * 1e12, REACHED_BANDWIDTH * 1e9
    memory = memory_gib * GIB
    return Device(name, float32_tflops * flops, bfloat16_tflops * flops, gb_per_s * bandwidth, LAUNCH_S, memory)


GPUS = {
    device.name: device
    for device in (
        # Data sheets: dense float32 without TF32 (PyTorch's default), dense bfloat16, memory bandwidth, memory.
        _gpu("T4", 8.1, 8.1, 300, 15),
        _gpu("V100", 15.7, 15.7, 900, 16),
        _gpu("A10G", 31.2, 70, 600, 22.5),
        _gpu("L4", 30.3, 121, 300, 22.5),
        _gpu("L40S", 91.6, 362, 864, 45),
        _gpu("A100", 19.5, 312, 1555, 39.5),
        _gpu("A100-80GB", 19.5, 312, 2039, 79),
        _gpu("H100", 67, 989, 3350, 79),
        _gpu("H200", 67, 989, 4800, 139),
    )
}
"""T4 and V100 have no bfloat16 units: they compute it as float32."""

INSTANCES = {"g4dn": "T4", "p3": "V100", "g5": "A10G", "g6": "L4", "g6e": "L40S", "p4d": "A100", "p4de": "A100-80GB",
             "p5": "H100", "p5e": "H200", "p5en": "H200"}  # fmt: skip


def gpu_named(name: str) -> Device:
    """Return a GPU of the table; raise KeyError with the nearest name."""
    if name not in GPUS:
        raise KeyError(unknown_name("GPU", name, GPUS))
    return GPUS[name]


def this_cpu(num_threads: int) -> Device:
    """Calibrate this machine's CPU in about half a second; leaves PyTorch's number of threads as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        left, right = torch.randn(384, 384), torch.randn(384, 384)
        half_left, half_right = left.bfloat16(), right.bfloat16()
        large, small = torch.randn(4 * 2**20), torch.randn(8)
        flops = 2 * 384**3
        return Device(
            name=f"CPU ({num_threads} threads)",
            float32_flops=flops / _seconds(lambda: left @ right),
            bfloat16_flops=flops / _seconds(lambda: half_left @ half_right),
            bandwidth=2 * large.nbytes / _seconds(lambda: large * 1.5),
            # An operation and its part of autograd.
            op_s=2 * _seconds(lambda: small * 1.5),
            memory=psutil.virtual_memory().total,
        )
    finally:
        torch.set_num_threads(before)


def _seconds(call: Callable[[], object]) -> float:
    """The median duration of a call, tried for a tenth of a second."""
    durations: list[float] = []
    ends = time.perf_counter() + 0.1
    while time.perf_counter() < ends or len(durations) < 5:
        started = time.perf_counter()
        call()
        durations.append(time.perf_counter() - started)
    return sorted(durations)[len(durations) // 2]


@dataclass(frozen=True)
class NodeType:
    """One kind of a cluster's nodes, at most `max_nodes` of them."""

    name: str
    cpus: float
    gpus: float
    max_nodes: int
    gpu: str | None

    def num_workers(self, cpus: float, gpus: float) -> int:
        """Return how many workers of a size all its nodes hold."""
        shares = [have / need for have, need in ((self.cpus, cpus), (self.gpus, gpus)) if need]
        return int(min(shares) + 1e-9) * self.max_nodes if shares else 0


def cluster_nodes(path: Path) -> list[NodeType]:
    """Read the node types of a `ray up` file, each with as many nodes as it may have.

    Raises:
        ValueError: it is no such file.
    """
    config = yaml.safe_load(path.read_text())
    if not isinstance(config, Mapping) or "available_node_types" not in config:
        raise ValueError(f"{path} has no available_node_types: give a file for `ray up`, such as cluster.yaml")
    nodes = []
    for name, node in config["available_node_types"].items():
        resources = node.get("resources", {})
        head = name == config.get("head_node_type")
        at_most = 1 if head else min(node.get("max_workers", 0), config.get("max_workers", 2))
        gpus = float(resources.get("GPU", 0))
        nodes.append(NodeType(name, float(resources.get("CPU", 0)), gpus, at_most, _gpu_of(node) if gpus else None))
    return nodes


def _gpu_of(node: Mapping[str, Any]) -> str | None:
    instance = str(node.get("node_config", {}).get("InstanceType", ""))
    return INSTANCES.get(instance.partition(".")[0])
