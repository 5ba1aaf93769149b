"""`eventsam compare` and `eventsam track` on real small runs: what differs, what is best, intervals, every output."""

import csv
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
from mlflow import MlflowClient
from tests_support import render_small, small_recipe
from typer.testing import CliRunner

from eventsam.engine import LocalRun, fit
from eventsam.metrics_log import MetricsLog
from eventsam.recipe import recipe_hash
from eventsam.report.data import ReportData, ResultRow
from eventsam.spec import Spec, replace, to_json
from eventsam.tracking.card import default_uri
from eventsam.tracking.catch_up import catch_up
from eventsam.tracking.outbox import Outbox
from eventsam.tracking.parameters import nearest_recipe, parameters_of
from ray_jobs.compare_command import compare_runs
from ray_jobs.track_command import track
from ray_jobs.tracked import Tracking, keep_evaluation, keep_results
from ray_jobs.train import prepare

app = typer.Typer()
app.command("compare")(compare_runs)
app.command("track")(track)


@dataclass
class LoggedRun(LocalRun):
    """A run in this process that writes the log which a Ray worker writes."""

    def report(self, record: Mapping[str, float]) -> None:
        assert self.folder is not None
        MetricsLog(self.folder.parent / "metrics.jsonl").append(record)


def train_here(recipe: Spec, folder: Path, tracking: Tracking) -> None:
    folder.mkdir(parents=True)
    recipe, built, training, validation = prepare(recipe)
    (folder / "recipe.json").write_text(json.dumps(to_json(recipe)))
    _, changes = nearest_recipe(recipe)
    mirror = tracking.open(folder, parameters_of(recipe, changes), {"recipe_hash": recipe_hash(recipe)})
    fit(
        built.task,
        lambda position: (training.batch(np.arange(p, p + 12)) for p in range(position, 96, 12)),
        optimizer=built.optimizer,
        budget=built.budget,
        run=LoggedRun(folder / "checkpoints"),
        folder=folder / "checkpoints",
        recipe=recipe,
        catalog_hash="catalog",
        validation=lambda: [validation.batch(np.arange(4))],
        monitor=built.monitor,
    )
    keep_results(mirror)
    mirror.finish("FINISHED")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: two seeds of one recipe, and another learning rate."""
    root = render_small(tmp_path_factory.mktemp("compare"), 6)
    folder = tmp_path_factory.mktemp("runs")
    recipe = replace(small_recipe("reconstruct", root), "budget.num_samples", 48)
    for name, changes in (("a", {}), ("b", {"seed": 1}), ("c", {"optimizer.learning_rate": 1e-2})):
        changed = recipe
        for path, value in changes.items():
            changed = replace(changed, path, value)
        train_here(changed, folder / name, Tracking("three"))
    keep_evaluation(
        folder / "c", ReportData("c on test", rows=[ResultRow("fused", "hard", "viou", 0.41, 0.35, 0.47, 9, 0)])
    )
    return folder


def invoke(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_differing_parameters_come_first_then_metrics_with_intervals(runs: Path) -> None:
    text = invoke("compare", runs / "a", runs / "b", runs / "c")
    assert text.index("optimizer.learning_rate") < text.index("seed") < text.index("vIoU")
    assert re.search(r"hard/vIoU +.*0\.410 \[0\.350, 0\.470\]", text)
    assert "over seeds 0, 1" in text
    assert "task.model.preset" not in text  # all share it
    assert text.count("finished") == 3


def test_every_output_holds_the_same_numbers(runs: Path, tmp_path: Path) -> None:
    for ending in ("html", "csv", "json"):
        assert f"compared.{ending}" in invoke("compare", runs, "--out", tmp_path / f"compared.{ending}")
    found = json.loads((tmp_path / "compared.json").read_text())
    assert found["differing"] == ["optimizer.learning_rate", "seed"]
    by_name = {run["name"]: run for run in found["runs"]}
    assert by_name["c"]["parameters"]["optimizer.learning_rate"] == 1e-2
    assert by_name["c"]["results"]["hard/viou"] == {"value": 0.41, "low": 0.35, "high": 0.47}
    records = MetricsLog(runs / "a" / "metrics.jsonl").read()
    assert by_name["a"]["last"]["viou"]["value"] == records[-1]["val/viou"]
    # The other metrics of the best checkpoint come with the monitored one.
    assert by_name["a"]["best"].keys() == by_name["a"]["last"].keys()
    with (tmp_path / "compared.csv").open() as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert rows["c"]["results/hard/viou/low"] == "0.35"
    assert float(rows["b"]["best/chamfer"]) == by_name["b"]["best"]["chamfer"]["value"]
    page = (tmp_path / "compared.html").read_text()
    assert "http" not in page.replace("Content-Security-Policy", "").replace("http-equiv", "")
    assert page.index("optimizer.learning_rate") < page.index("best checkpoint") < page.index("vIoU")
    assert "<img" in page


def test_the_store_tells_the_same_as_the_folders(runs: Path, tmp_path: Path) -> None:
    invoke("compare", "--experiment", "three", "--runs", runs, "--out", tmp_path / "store.json")
    invoke("compare", runs, "--out", tmp_path / "folders.json")
    stored, folders = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("store", "folders"))
    assert stored["differing"] == folders["differing"]
    for run, other in zip(*(sorted(x["runs"], key=lambda r: r["name"]) for x in (stored, folders)), strict=True):
        assert run["name"] == other["name"]
        assert {k: v["value"] for k, v in run["best"].items()} == {k: v["value"] for k, v in other["best"].items()}
        assert run["results"] == other["results"]
        assert run["facts"]["recipe_hash"] == other["facts"]["recipe_hash"]


def test_the_environment_names_the_server(runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(runs))
    assert "optimizer.learning_rate" in invoke("compare", "--experiment", "three", "--runs", tmp_path)


def test_the_store_holds_what_a_run_is(runs: Path) -> None:
    client = MlflowClient(default_uri(runs))
    experiment = client.get_experiment_by_name("three")
    assert experiment is not None
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    run = found["c"]
    assert run.data.params["changed.optimizer.learning_rate"] == run.data.params["optimizer.learning_rate"] == "0.01"
    assert {"code_hash", "environment_hash", "catalog_hash", "recipe_hash", "checkpoint", "checkpoint.best", "folder",
            "host"} <= run.data.tags.keys()  # fmt: skip
    assert run.data.tags["restarts"] == "0"
    assert (Path(run.data.tags["checkpoint.best"]) / "state.json").exists()
    assert {"loss", "data_wait_share", "samples_per_s", "best/viou", "best/chamfer"} <= run.data.metrics.keys()
    places = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert places == {"checkpoint", "evaluation", "figures", "provenance"}
    assert (run.data.metrics["hard/viou/low"], run.data.metrics["hard/viou"]) == (0.35, 0.41)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]


def test_track_says_that_nothing_waits_and_registers(runs: Path) -> None:
    assert invoke("track", runs, "--check").count("nothing waiting for sqlite") == 3
    assert "1 other entries sent" in invoke("track", runs / "a", "--register", "small")
    (version,) = MlflowClient(default_uri(runs), default_uri(runs)).search_model_versions("name = 'small'")
    assert {path.name for path in Path(version.source.removeprefix("file://")).iterdir()} >= {"model.safetensors"}


def test_track_tells_what_waits_while_the_server_is_away(runs: Path) -> None:
    output = invoke("track", runs / "b", "--tracking-uri", "http://127.0.0.1:9", code=1)
    assert re.search(
        r"b: \d+ records and \d+ other entries still wait for http://127.0.0.1:9: .*does not answer", output
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare",), "name runs' folders, or an --experiment"),
        (("compare", "RUNS", "--out", "table.xlsx"), r"allowed: \.html, \.csv, \.json"),
        (("compare", "RUNS/nothing"), "holds no run"),
        (("compare", "--experiment", "thre", "--runs", "RUNS"), "did you mean 'three'"),
        (("compare", "--experiment", "three", "--runs", "RUNS/a"), "has no MLflow store"),
        (("track", "RUNS/a/checkpoints"), "no tracked run is there"),
        (("track", "RUNS", "--register", "x"), "takes one run, not 3"),
    ],
)
def test_bad_input_is_named(runs: Path, arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, [argument.replace("RUNS", str(runs)) for argument in arguments])
    assert isinstance(result.exception, ValueError | KeyError | FileNotFoundError)
    assert re.search(message, str(result.exception.args[0]))


def test_a_killed_run_is_ended_with_links_to_its_checkpoints(runs: Path, tmp_path: Path) -> None:
    """Of a run whose process is gone, the folder says everything."""
    shutil.copytree(runs / "a", tmp_path / "killed")
    Outbox(tmp_path / "killed").status("RUNNING")
    invoke("track", tmp_path / "killed")
    caught = catch_up(tmp_path / "killed")
    run = MlflowClient(default_uri(runs)).get_run(caught.run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["checkpoint"].startswith(str(tmp_path / "killed" / "checkpoints" / "step_"))
