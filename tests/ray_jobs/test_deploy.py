"""The cluster files: cluster.yaml by Ray's own schema, kuberay.yaml by KubeRay's shape, slurm.sh by running it."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from kuberay_shape import errors_of
from ray.autoscaler._private.util import prepare_config, validate_config

from ray_jobs.data_plane import SUBCLUSTER, selector
from ray_jobs.growth import VARIABLE, grows_to
from ray_jobs.pinned import pins
from ray_jobs.plan_devices import cluster_nodes

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def cluster_file() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return config


def documents() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text())}


def test_cluster_yaml_is_valid_by_rays_own_schema() -> None:
    validate_config(prepare_config(cluster_file()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("idle_timeout_minute",), 3),
        (("available_node_types", "gpu_worker", "max_worker"), 3),
        (("available_node_types", "gpu_worker", "resources"), {"CPU": "many"}),
        (("max_workers",), -1),
    ],
)
def test_rays_schema_would_catch_a_slip(path: tuple[str, ...], value: object) -> None:
    config = cluster_file()
    node = config
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    with pytest.raises((ValidationError, ValueError)):
        validate_config(prepare_config(config))


def test_cluster_yaml_is_closed_and_autoscaled_on_spot() -> None:
    config = cluster_file()
    (head,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    (worker,) = [line for line in config["worker_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host=127.0.0.1" in head
    assert all("RAY_AUTH_MODE=token ray start" in line for line in (head, worker))
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert any(" /shared" in line for line in config["setup_commands"])
    nodes = config["available_node_types"]
    assert all(node["node_config"]["ImageId"] == "IMAGE" for node in nodes.values())
    assert "GPU" not in nodes[config["head_node_type"]]["resources"]
    gpu = nodes["gpu_worker"]
    assert gpu["min_workers"] == 0 < gpu["max_workers"]
    assert gpu["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in nodes["head"]["node_config"]


def test_readers_have_the_label_that_ray_data_counts_by() -> None:
    label = f"{SUBCLUSTER}=reader"
    nodes = cluster_file()["available_node_types"]
    assert nodes["cpu_reader"]["labels"] == dict(selector(label))
    assert nodes["cpu_reader"]["min_workers"] == 1
    _, reader = documents()["RayCluster"]["spec"]["workerGroupSpecs"]
    assert reader["rayStartParams"] == {"labels": label}
    assert reader["minReplicas"] == 1
    assert f"--readers {label}" in documents()["RayJob"]["spec"]["entrypoint"]


def test_what_the_clusters_say_they_grow_to_is_the_sum_of_their_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = cluster_nodes(ROOT / "cluster.yaml")
    (head,) = [line for line in cluster_file()["head_start_ray_commands"] if "ray start" in line]
    monkeypatch.setenv(VARIABLE, head.partition(f"{VARIABLE}=")[2].split()[0])
    assert grows_to() == {
        "CPU": sum(node.cpus * node.max_nodes for node in nodes),
        "GPU": sum(node.gpus * node.max_nodes for node in nodes),
    }
    assert sum(node.max_nodes for node in nodes) == 1 + cluster_file()["max_workers"]
    spec = documents()["RayCluster"]["spec"]
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    monkeypatch.setenv(VARIABLE, {entry["name"]: entry["value"] for entry in container["env"]}[VARIABLE])
    found = {"CPU": float(container["resources"]["limits"]["cpu"]), "GPU": 0.0}
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        found["CPU"] += group["maxReplicas"] * float(limits["cpu"])
        found["GPU"] += group["maxReplicas"] * float(limits.get("nvidia.com/gpu", 0))
    assert grows_to() == found


def test_kuberay_objects_have_their_shape() -> None:
    found = documents()
    assert set(found) == {"PersistentVolumeClaim", "NetworkPolicy", "RayCluster", "RayJob"}
    assert errors_of(found["RayCluster"]) == []
    assert errors_of(found["RayJob"]) == []


def test_kuberay_is_closed_and_fits_together() -> None:
    found = documents()
    spec = found["RayCluster"]["spec"]
    name = found["RayCluster"]["metadata"]["name"]
    assert spec["authOptions"]["mode"] == "token"
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["rayVersion"] == pins(ROOT)["ray"]
    assert found["RayJob"]["spec"]["clusterSelector"] == {"ray.io/cluster": name}
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == {"ray.io/cluster": name}
    claim = found["PersistentVolumeClaim"]["metadata"]["name"]
    images = set()
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        images.add(container["image"])
        assert container["resources"]["limits"] == container["resources"]["requests"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert len(images) == 1
    limits = [group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in spec["workerGroupSpecs"]]
    assert [limit.get("nvidia.com/gpu") for limit in limits] == ["4", None]
    assert found["RayJob"]["spec"]["entrypoint"].startswith("python -m ray_jobs train ")
    assert yaml.safe_load(found["RayJob"]["spec"]["runtimeEnvYAML"])["env_vars"]


def test_kuberays_shape_would_catch_a_slip() -> None:
    good = documents()["RayCluster"]

    def slipped(*path: Any, value: Any) -> str:
        document = copy.deepcopy(good)
        node: Any = document
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = value
        return "\n".join(errors_of(document))

    group = ("spec", "workerGroupSpecs", 0)
    assert "unknown key 'maxReplica'" in slipped(*group, "maxReplica", value=4)
    assert "no whole number" in slipped(*group, "maxReplicas", value="4")
    assert "has 5 to 4 replicas" in slipped(*group, "minReplicas", value=5)
    assert "is no text" in slipped("spec", "headGroupSpec", "rayStartParams", value={"num-gpus": 0})
    assert "none of disabled, token" in slipped("spec", "authOptions", value={"mode": "tokens"})
    assert "is no quantity" in slipped(
        *group, "template", "spec", "containers", 0, "resources", "limits", value={"memory": "180 GB"}
    )


def test_the_slurm_script_parses_and_wants_slurm(tmp_path: Path) -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True, timeout=20)
    assert os.access(script, os.X_OK)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    outside = subprocess.run([script, "train"], env=environment, capture_output=True, text=True, timeout=20)
    assert outside.returncode != 0
    assert "submit this file with sbatch" in outside.stderr
    empty = subprocess.run(
        [script], env=environment | {"SLURM_JOB_ID": "1"}, capture_output=True, text=True, timeout=20
    )
    assert empty.returncode == 2
    assert list(tmp_path.iterdir()) == []


SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
echo one
"""
HOSTNAME = """#!/bin/bash
echo 127.0.0.1
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_slurm_script_runs_on_one_node(tmp_path: Path) -> None:
    """Slurm's own commands are stood in for by ones that run on this machine; Ray, token and job are real."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    for name, content in (("srun", SRUN), ("scontrol", SCONTROL), ("hostname", HOSTNAME)):
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = hidden | {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "one",
        "SLURM_JOB_NUM_NODES": "1",
        "OMP_NUM_THREADS": "1",
    }
    words = [DEPLOY / "slurm.sh", "report", "/nowhere"]
    result = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "on 1 nodes; dashboard: ssh -L 8265:127.0.0.1:" in result.stdout
    assert "holds neither a demo's report nor a run's metrics.jsonl" in result.stderr
    # The token went with the job, and so did the head.
    assert not [entry for entry in home.iterdir() if entry.name.startswith(".eventsam")]
