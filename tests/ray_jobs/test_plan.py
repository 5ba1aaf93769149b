"""Plans: sizes against real checkpoints, lines against larger batches, what is missing, what does not fit."""

import json
import math
from pathlib import Path

import pytest
import torch
from tests_support import render_small, small_recipe
from typer.testing import CliRunner

from eventsam.recipe import load_recipe
from eventsam.spec import replace
from ray_jobs import plan_step
from ray_jobs.__main__ import app
from ray_jobs.cluster import Resources
from ray_jobs.plan import Parts, build_parts, make_plan, most_workers
from ray_jobs.plan_devices import GPUS, INSTANCES, Device, cluster_nodes, gpu_named, this_cpu
from ray_jobs.plan_measure import measure
from ray_jobs.plan_step import Line, cost_of, size_of
from ray_jobs.plan_table import shown

ROOT = Path(__file__).resolve().parents[2]
ONE = Resources(threads_per_worker=1)
SLOW = Device("slow", 1e9, 1e9, 1e9, 1e-5, 2**30)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("plan"), 6)


@pytest.fixture(scope="module")
def parts(root: Path) -> Parts:
    return build_parts(small_recipe("reconstruct", root))


def test_cost_grows_by_the_line_through_two_and_three_samples(parts: Parts) -> None:
    assert parts.task is not None
    assert parts.batch_of is not None
    before = {name: value.clone() for name, value in parts.task.state_dict().items()}
    cost = cost_of(parts.task, parts.batch_of)
    eight = plan_step._watched_step(parts.task, parts.batch_of(8), "float32")
    assert cost.flops.at(8) == pytest.approx(eight.flops, rel=0.01)
    assert cost.saved.at(8) == pytest.approx(eight.saved, rel=0.05)
    assert cost.traffic.at(8) == pytest.approx(eight.traffic, rel=0.05)
    assert cost.largest(8) == pytest.approx(max(eight.results), rel=0.05)
    assert all(torch.equal(value, before[name]) for name, value in parts.task.state_dict().items())


def test_products_are_counted_as_on_paper() -> None:
    class Linear(torch.nn.Linear):
        reads = ()

        def forward(self, batch):  # type: ignore[no-untyped-def]
            return {"loss": super().forward(batch["x"]).sum()}

    cost = cost_of(Linear(32, 16, bias=False), lambda count: {"x": torch.ones(count, 32)})  # type: ignore[arg-type]
    # Forward and the weight's gradient: 2 x 32 x 16 each; nobody asks for the input's gradient.
    assert cost.flops.at(10) == 10 * 2 * 2 * 32 * 16


def test_frozen_parts_cost_no_gradients_or_moments(parts: Parts) -> None:
    assert parts.task is not None
    whole = size_of(parts.task)
    parts.task.model.encoder.requires_grad_(False)
    try:
        less = size_of(parts.task)
    finally:
        parts.task.model.encoder.requires_grad_(True)
    assert less.trained < whole.trained
    assert less.trained + less.frozen == whole.trained
    assert less.optimizer == 2 * less.trained


def test_without_data_the_shapes_are_assumed_and_the_gap_is_named() -> None:
    plan = make_plan(build_parts(load_recipe("reconstruct")), ONE, SLOW, None, ROOT)
    (missing,) = plan.missing
    assert "bytes read, epochs per day: data.root is not given" in missing
    assert plan.value("activations") > plan.value("parameters")
    assert plan.value("upload") > 0
    assert "epochs per day" not in [row.name for row in plan.rows]
    # The same shapes as real samples have: the same cost.
    assert plan.value("computing per step") > 1e9


def test_assumed_samples_cost_what_real_ones_do(root: Path, parts: Parts) -> None:
    assumed = build_parts(small_recipe("reconstruct", root / "elsewhere"))
    assert f"there is nothing at {root / 'elsewhere'}" in assumed.missing[0]
    plans = [make_plan(found, ONE, SLOW, None, None) for found in (parts, assumed)]
    for name in ("computing per step", "activations", "checkpoint"):
        assert plans[0].value(name) == plans[1].value(name)


def test_a_missing_checkpoint_is_named(root: Path) -> None:
    plan = make_plan(build_parts(replace(load_recipe("fuse"), "data.root", str(root))), ONE, SLOW, None, None)
    assert "task.reconstructor.checkpoint is required" in plan.missing[0]
    assert plan.rows == []


def test_reading_and_rates(parts: Parts) -> None:
    plan = make_plan(parts, ONE, SLOW, None, None)
    assert plan.missing == []
    assert parts.loader is not None
    stored = sum(path.stat().st_size for path in parts.loader.catalog.root.rglob("*.h5"))
    assert 0 < plan.value("stored per sample") <= stored
    per_second = plan.value("samples per second")
    assert plan.value("epochs per day") == pytest.approx(86_400 * per_second / plan.value("samples per epoch"))
    assert plan.value("read") == pytest.approx(per_second * plan.value("stored per sample"))
    assert plan.value("run") == pytest.approx(8 * plan.value("step"))


def test_more_workers_take_less_time_and_exchange_gradients(parts: Parts) -> None:
    one, four = (make_plan(parts, Resources(number, threads_per_worker=1), SLOW, None, None) for number in (1, 4))
    assert one.value("step") > four.value("step") > one.value("step") / 4
    assert four.value("exchanged per step") == four.value("gradients")


def test_what_does_not_fit_is_said(parts: Parts, tmp_path: Path) -> None:
    small = Device("small", 1e9, 1e9, 1e9, 1e-5, 2**20)
    assert "raise budget.micro_batches" in make_plan(parts, ONE, small, None, None).problems[0]
    shares = make_plan(parts, Resources(5), SLOW, None, None).problems
    assert shares == [
        "budget.global_batch_size 12 cannot be shared equally by 5 workers x 1 micro-batches; 4 workers can"
    ]
    nodes = cluster_nodes(ROOT / "cluster.yaml")
    assert [(node.name, node.gpus, node.max_nodes, node.gpu) for node in nodes] == [
        ("head", 0, 1, None), ("gpu_worker", 4, 4, "A10G"), ("cpu_reader", 0, 4, None),
    ]  # fmt: skip
    (room,) = make_plan(parts, Resources(6, 1, 3), SLOW, nodes, None).problems
    assert room.startswith("6 workers x (1 CPU, 3 GPU) on 1 x head")
    assert room.endswith("there is room for 4 workers")
    assert make_plan(parts, Resources(12, 4, 1), SLOW, nodes, None).problems == []
    (tmp_path / "other.yaml").write_text("a: 1")
    with pytest.raises(ValueError, match="has no available_node_types"):
        cluster_nodes(tmp_path / "other.yaml")


def test_an_elastic_range_is_planned_at_its_most(parts: Parts) -> None:
    nodes = cluster_nodes(ROOT / "cluster.yaml")
    # A batch of 12 is shared by 1, 2, 3, 4 and 6; of three GPUs each, four find room.
    assert most_workers(parts.budget, Resources((1, 8)), None).num_workers == 6
    assert most_workers(parts.budget, Resources((1, 8), 1, 3), nodes).num_workers == 4
    assert most_workers(parts.budget, Resources((5, 8), 1, 3), nodes).num_workers == 6  # what does not fit is said
    assert most_workers(parts.budget, Resources(5), None).num_workers == 5
    with pytest.raises(ValueError, match="cannot be shared equally by 7 to 8 workers"):
        most_workers(parts.budget, Resources((7, 8)), None)


def test_devices() -> None:
    assert set(INSTANCES.values()) <= set(GPUS)
    with pytest.raises(KeyError, match="did you mean 'A10G'"):
        gpu_named("A10")
    cpu = this_cpu(1)
    assert 1e8 < cpu.float32_flops < 1e13
    assert 1e8 < cpu.bandwidth < 1e13
    assert math.isfinite(cpu.bfloat16_flops)


def test_lines_and_numbers_for_people() -> None:
    assert Line.through(50, 70).at(4) == 90
    assert Line.through(5, 5).at(100) == 5
    assert [shown(*pair) for pair in ((1536, "bytes"), (3e6, "number"), (0.0123, "s"), (7e5, "s"), (0, "bytes/s"))] == [
        "1.5 KiB", "3 M", "12.3 ms", "8.1 days", "0 B/s",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_warm_up_step_is_held_against_the_prediction(parts: Parts) -> None:
    plan = make_plan(parts, ONE, GPUS["H100"], None, None)
    here, found = measure(parts, ONE, plan, GPUS["H100"])
    rows = {row.name: row for row in found}
    assert "CPU" in here.name or torch.cuda.is_available()
    assert rows["checkpoint"].ratio == pytest.approx(1, abs=0.2)
    # Loose: what else runs on the machine takes its share, and a tiny model is mostly the operations' own overhead.
    assert rows["step"].ratio is not None
    assert 0.05 < rows["step"].ratio < 20
    assert rows["memory per worker"].measured >= 0
    read_s = rows["reading one sample"].measured
    assert read_s > 0
    # A GPU's faster steps take more readers than this machine's; by the model, never fewer than the plain quotient.
    assert rows["CPUs that read, per H100"].measured >= 12 / plan.value("step") * read_s
    assert rows["CPUs that read, per H100"].measured >= rows["CPUs that read, here"].measured >= 1


def test_the_command_prints_and_fails_where_it_does_not_fit(root: Path, tmp_path: Path) -> None:
    small = ["--set", f"data.root={root}", "--set", "task.model.preset=micro"]
    words = ["plan", "reconstruct", *small, "--cluster", str(ROOT / "cluster.yaml"), "--workers", "8", "--json"]
    result = CliRunner().invoke(app, [*words, str(tmp_path / "plan.json")])
    assert result.exit_code == 0, result.output
    assert "8 x A10G" in result.output
    assert json.loads((tmp_path / "plan.json").read_text())["predicted"]["step"]["value"] > 0
    ranged = CliRunner().invoke(app, [word if word != "8" else "1-8" for word in words[:-1]])
    assert ranged.exit_code == 0, ranged.output
    assert ranged.output.startswith("with 8 workers, the most of 1-8 that share a batch and find room:")
    result = CliRunner().invoke(app, words[:-3])  # all 16 GPUs for a batch of 8
    assert result.exit_code == 2
    assert "does not fit: budget.global_batch_size 8" in result.output
    result = CliRunner().invoke(app, ["plan", "reconstruct", *small, "--gpus-per-worker", "1"])
    assert "which GPU? no node type tells it; say --gpu NAME" in str(result.exception)
