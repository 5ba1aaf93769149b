"""What a Ray cluster's machines do, as their own agents tell it: CPU, memory, GPUs and the object store."""

import logging
import re
import urllib.request
from collections.abc import Iterable, Mapping

import ray

from eventsam.tracking.system_usage import MEGABYTE, local_usage

log = logging.getLogger(__name__)

MAX_NODES = 16
"""A page per node is read at each sample; of larger clusters, the first nodes stand for the rest."""
TIMEOUT_S = 2.0

_LINE = re.compile(r"^ray_(\w+)\{([^}]*)\} ([-+.\deE]+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Page = Mapping[str, list[tuple[Mapping[str, str], float]]]
"""Metric to its (labels, value) pairs."""


def cluster_usage() -> dict[str, float]:
    """Return the cluster's numbers now: sums over machines, means of shares; this machine's alone without Ray.

    Every node's agent serves them, so that no process is started for them.
    """
    if not ray.is_initialized():
        return local_usage()
    nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeID"]))
    pages = [page for node in nodes[:MAX_NODES] if (page := _page(node)) is not None]
    usage = usage_of(pages)
    # One machine can tell of itself in more detail, and without its agent.
    return {"system/num_nodes": float(len(nodes))} | usage | (local_usage() if len(nodes) <= 1 else {})


def usage_of(pages: Iterable[Page]) -> dict[str, float]:
    """Return the numbers of several nodes' pages put together, in MB and percent."""
    pages = list(pages)
    hosts = list({_host(page): page for page in pages}.values())
    usage = {
        "system/object_store_used_megabytes": _sum(pages, "object_store_used_memory") / MEGABYTE,
        "system/object_store_available_megabytes": _sum(pages, "object_store_available_memory") / MEGABYTE,
        "system/object_store_spilled_megabytes": _sum(pages, "object_store_memory", Location="SPILLED") / MEGABYTE,
    }
    used, total = _sum(hosts, "node_mem_used"), _sum(hosts, "node_mem_total")
    if total:
        usage["system/system_memory_usage_megabytes"] = used / MEGABYTE
        usage["system/system_memory_usage_percentage"] = 100 * used / total
    cpus = [value for page in hosts for _, value in page.get("node_cpu_utilization", ())]
    if cpus:
        usage["system/cpu_utilization_percentage"] = sum(cpus) / len(cpus)
    gpus = [value for page in hosts for _, value in page.get("node_gpus_utilization", ())]
    if gpus:
        # The agents give GPU memory in MiB.
        usage["system/gpu_utilization_percentage"] = sum(gpus) / len(gpus)
        usage["system/gpu_memory_usage_megabytes"] = _sum(hosts, "node_gram_used") * 2**20 / MEGABYTE
    return usage


def parse_page(text: str) -> Page:
    """Return a Prometheus page's metrics by name, `ray_` dropped."""
    page: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found:
            name, labels, value = found.groups()
            page.setdefault(name, []).append((dict(_LABEL.findall(labels)), float(value)))
    return page


def _page(node: Mapping[str, object]) -> Page | None:
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return parse_page(answer.read().decode())
    except OSError as error:
        log.debug("node %s does not tell its usage: %s", node["NodeID"], error)
        return None


def _sum(pages: Iterable[Page], name: str, **labels: str) -> float:
    return sum(
        value
        for page in pages
        for found, value in page.get(name, ())
        if all(found.get(key) == wanted for key, wanted in labels.items())
    )


def _host(page: Page) -> str:
    """Return the machine's address: several nodes of a test cluster share one machine's CPU and memory."""
    return next((labels.get("ip", "") for labels, _ in page.get("node_mem_used", ())), str(id(page)))
