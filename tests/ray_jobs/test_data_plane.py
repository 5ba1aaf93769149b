"""The data plane's labels and limits: what they are turned into, what they come to, and what is refused."""

from typing import Any

import pytest
import ray
from ray.data import ExecutionResources

from ray_jobs.data_plane import MIB, DataPlane, check_plane, cpus_with, site_of


def node(cpus: float, store_mib: int, alive: bool = True, **labels: str) -> dict[str, Any]:
    """A node as `ray.nodes()` shows it."""
    return {
        "Alive": alive,
        "Resources": {"CPU": cpus, "object_store_memory": store_mib * MIB},
        "Labels": {"ray.io/node-id": "abc", **{name.replace("_", "-"): value for name, value in labels.items()}},
    }


NODES = [
    node(4, 100, kind="head"),
    node(32, 1000, ray_subcluster="reader"),
    node(32, 1000, ray_subcluster="reader"),
    node(32, 1000, alive=False, ray_subcluster="reader"),
    node(8, 500, kind="gpu"),
]


def test_labels_and_limits_become_rays_own_options() -> None:
    plane = DataPlane("ray-subcluster=reader", "kind=gpu", reader_cpus=16, store_mib=64)
    options = plane.execution_options()
    assert options.preserve_order
    assert options.label_selector == {"ray-subcluster": "reader"}
    assert options.resource_limits == ExecutionResources.for_limits(cpu=16, object_store_memory=64 * MIB)
    assert plane.trainer_selector() == {"kind": "gpu"}


def test_trainers_leave_the_readers_nodes_alone_unless_told_where_to_go() -> None:
    assert DataPlane("ray-subcluster=reader").trainer_selector() == {"ray-subcluster": "!reader"}
    plain = DataPlane()
    assert plain.trainer_selector() is None
    assert plain.execution_options().label_selector is None
    assert plain.execution_options().is_resource_limits_default()


def test_elastic_runs_count_the_cpus_that_trainers_may_have() -> None:
    for plane, cpus in ((DataPlane("ray-subcluster=reader"), 12), (DataPlane(trainers="kind=gpu"), 8)):
        wanted = plane.trainer_selector()
        assert wanted is not None
        assert cpus_with(wanted, NODES) == cpus


def test_what_it_comes_to_is_said_in_cpus_blocks_and_bytes() -> None:
    site = site_of(DataPlane("ray-subcluster=reader", reader_cpus=48), NODES)
    assert (site.num_readers, site.reader_cpus, site.num_trainers, site.trainer_cpus) == (2, 64, 2, 12)
    assert site.lines(8.0) == [
        "reading on 2 nodes (ray-subcluster=reader): 64 CPUs, at most 48 blocks at once",
        "blocks may fill 1,000 of 2,000 MiB of object store; then reading waits",
        "training on 2 nodes (any other node); every block crosses the network once",
    ]
    shared = site_of(DataPlane(store_mib=300), NODES).lines(8.0)
    assert shared[0] == "reading on 4 nodes (any node): 68 CPUs, at most 68 blocks at once"
    assert shared[1] == "blocks may fill 300 of 2,600 MiB of object store; then reading waits"


def test_a_label_that_no_node_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"readers' label role=read \(there are: kind=gpu, kind=head, ray-subcluster"):
        site_of(DataPlane("role=read"), NODES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"readers": "reader"}, "'reader' is not written KEY=VALUE"),
        ({"readers": "role=a", "trainers": "role=a"}, "both stand on 'role=a'"),
        ({"trainers": "ray-subcluster=t"}, "cannot be chosen by the label 'ray-subcluster'"),
        ({"reader_cpus": -1}, "reader_cpus is -1"),
    ],
)
def test_a_plane_that_means_nothing_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataPlane(**arguments)


@pytest.mark.parametrize(
    ("plane", "message"),
    [
        (DataPlane(trainers="kind=gpu"), r"9 workers x 1.0 CPU = 9.0 CPUs, but the 1 nodes with kind=gpu have 8"),
        (DataPlane(readers="ray-subcluster=reader"), "but the 2 nodes with no ray-subcluster=reader have 12"),
        (DataPlane(store_mib=2601), "store_mib is 2601, but the object stores of the 4 reading nodes hold 2600 MiB"),
    ],
)
def test_what_the_cluster_cannot_place_is_refused_with_the_sum(
    plane: DataPlane, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: NODES)
    with pytest.raises(ValueError, match=message):
        check_plane(plane, 13 if plane.readers else 9, 1.0)
