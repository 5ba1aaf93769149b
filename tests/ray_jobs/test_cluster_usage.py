"""The cluster's numbers, from a real Ray's own pages and from two nodes' put together."""

import time

import numpy as np
import pytest
import ray

from ray_jobs.cluster_usage import cluster_usage, parse_page, usage_of

NODE = """# HELP ray_node_mem_used x
ray_node_mem_used{{IsHeadNode="true",ip="10.0.0.{n}"}} {n}.0e+09
ray_node_mem_total{{IsHeadNode="true",ip="10.0.0.{n}"}} 8e+09
ray_node_cpu_utilization{{ip="10.0.0.{n}"}} {n}0.0
ray_node_gpus_utilization{{GpuIndex="0",ip="10.0.0.{n}"}} 9{n}.0
ray_node_gram_used{{GpuIndex="0",ip="10.0.0.{n}"}} 1000.0
ray_object_store_used_memory{{NodeAddress="10.0.0.{n}"}} 5e+08
ray_object_store_memory{{Location="SPILLED",ObjectState=""}} 1e+06
ray_object_store_memory{{Location="MMAP_SHM",ObjectState="SEALED"}} 7e+06
"""


def test_two_nodes_are_put_together() -> None:
    usage = usage_of([parse_page(NODE.format(n=number)) for number in (1, 2)])
    assert usage["system/system_memory_usage_megabytes"] == 3000
    assert usage["system/system_memory_usage_percentage"] == pytest.approx(18.75)
    assert usage["system/cpu_utilization_percentage"] == 15
    assert usage["system/gpu_utilization_percentage"] == 91.5
    assert usage["system/gpu_memory_usage_megabytes"] == pytest.approx(2097.152)
    assert usage["system/object_store_used_megabytes"] == 1000
    assert usage["system/object_store_spilled_megabytes"] == 2


def test_nodes_of_one_machine_are_not_counted_twice() -> None:
    page = parse_page(NODE.format(n=1))
    assert usage_of([page, page])["system/system_memory_usage_megabytes"] == 1000
    assert usage_of([page, page])["system/object_store_used_megabytes"] == 1000


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("local_ray")
def test_a_real_ray_tells_what_its_object_store_holds() -> None:
    held = ray.put(np.zeros(30_000_000, np.uint8))
    deadline = time.monotonic() + 60
    while cluster_usage().get("system/object_store_used_megabytes", 0) < 30 and time.monotonic() < deadline:
        time.sleep(1)
    usage = cluster_usage()
    assert usage["system/object_store_used_megabytes"] >= 30
    assert usage["system/system_memory_usage_megabytes"] > 100
    del held
