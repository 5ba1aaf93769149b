"""What a cluster has, and what it says it can grow to, decide together whether a run is let in."""

import pytest
import ray

from ray_jobs.cluster import Resources, check_resources
from ray_jobs.growth import VARIABLE, grows_to

FEW = {"CPU": 4.0}


@pytest.fixture(autouse=True)
def a_head_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: FEW)


def test_a_cluster_whose_gpu_nodes_are_yet_to_start_lets_a_run_in(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Resources((1, 8), gpus_per_worker=1.0)
    with pytest.raises(ValueError, match=rf"1 workers x 1 GPU = 1 GPUs, but the cluster has 0 \(.*{VARIABLE}"):
        check_resources(run)
    monkeypatch.setenv(VARIABLE, "CPU=324,GPU=16")
    check_resources(run)
    check_resources(Resources(16, 4.0, 1.0))


def test_what_the_largest_cluster_does_not_hold_is_refused_with_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "CPU=324,GPU=16")
    with pytest.raises(ValueError, match="17 workers x 1 GPU = 17 GPUs, but the cluster has 0 and grows to 16"):
        check_resources(Resources(17, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"81 workers x 4 CPU \+ 1 CPU for reading = 325 CPUs.* grows to 324"):
        check_resources(Resources(81, 4.0))


def test_a_fixed_cluster_counts_what_it_has() -> None:
    check_resources(Resources(3))
    with pytest.raises(ValueError, match=r"4 workers x 1 CPU \+ 1 CPU for reading = 5 CPUs, but the cluster has 4 "):
        check_resources(Resources(4))


def test_a_sum_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grows_to() == {}
    monkeypatch.setenv(VARIABLE, "16 GPUs")
    with pytest.raises(ValueError, match="is '16 GPUs'; write it as in CPU=320,GPU=16"):
        grows_to()
