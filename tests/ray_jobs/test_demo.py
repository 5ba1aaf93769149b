"""The demo, cut to a minute: every stage through Ray, five inputs compared, everything written and tracked."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from eventsam.simulate.meshes import load_mesh
from eventsam.tracking.card import default_uri
from ray_jobs.__main__ import app
from ray_jobs.cluster import Resources
from ray_jobs.demo import QUICK, Demo, write_results
from ray_jobs.demo_models import MODELS, Stage, check_model
from ray_jobs.supervise import Tracking

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(400)]

SMALL = dataclasses.replace(
    QUICK,
    num_objects=16,
    settings=dataclasses.replace(QUICK.settings, samples_per_trajectory=1, split_fractions=(0.5, 0.2, 0.3)),
)

STAGES = tuple(MODELS["reconstructor"])


def small(model: str) -> dict[str, Stage]:
    return {name: dataclasses.replace(stage, num_samples_quick=48) for name, stage in check_model(model).items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    tracking = Tracking("eventsam-demo")
    job = Demo(folder, SMALL, 3, None, (), Resources(0), tracking, small("reconstructor"))
    write_results(folder, job.run(["eventsam", "demo"]), tracking, folder / "out.json")
    return folder


def test_the_json_holds_what_was_promised(finished: Path) -> None:
    result = json.loads((finished / "out.json").read_text())
    assert {"rows", "gap_closed", "seconds", "peak_memory_bytes"} <= result.keys()
    keys = {"input", "blur", "metric", "mean", "low", "high", "num_objects", "seed"}
    assert all(row.keys() == keys for row in result["rows"])
    cells = {(row["input"], row["blur"]) for row in result["rows"]}
    inputs = ("sharp_rgb", "blurry_rgb", "events_blurry", "edi", "control", "events_only")
    assert cells == {(name, blur) for name in inputs for blur in ("easy", "medium", "hard")}
    assert {row["metric"] for row in result["rows"]} >= {"viou", "chamfer", "cd_p", "cd_n", "f_score"}
    assert {row["seed"] for row in result["rows"]} == {3}
    assert result["gap_closed"].keys() == {"easy", "medium", "hard"}
    assert {"render", *STAGES, "evaluate", "report"} <= result["seconds"].keys()
    assert result["peak_memory_bytes"] > 2**28


@pytest.mark.slow
def test_it_runs_on_a_sam_3d_shaped_model_too(tmp_path: Path) -> None:
    tracking = Tracking("eventsam-demo")
    job = Demo(tmp_path, SMALL, 3, None, (), Resources(0), tracking, small("sam3d_tiny"))
    write_results(tmp_path, job.run(["eventsam", "demo"]), tracking, tmp_path / "out.json")
    result = json.loads((tmp_path / "out.json").read_text())
    assert {*MODELS["sam3d_tiny"]} <= result["seconds"].keys()
    assert {row["input"] for row in result["rows"]} >= {"sharp_rgb", "events_blurry", "control", "events_only"}


def test_an_unknown_model_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="sam3d_tiny"):
        check_model("sam3d_tin")


def test_the_page_needs_nothing_from_outside(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", page)
    assert "data:image/png;base64," in page


def test_mlflow_holds_parameters_metrics_figures_checkpoints_and_hashes(finished: Path) -> None:
    client = MlflowClient(default_uri(finished))
    experiment = client.get_experiment_by_name("eventsam-demo")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {*STAGES, "results"}
    for stage in STAGES:
        run = runs[stage]
        assert run.info.status == "FINISHED"
        assert {"code_hash", "recipe_hash", "catalog_hash"} <= run.data.tags.keys()
        assert run.data.params["budget.num_samples"] == "48"
        assert any(name.startswith("best/") for name in run.data.metrics)
        assert {"loss", "data_wait_share", "samples_per_s"} <= run.data.metrics.keys()
        files = [item.path for item in client.list_artifacts(run.info.run_id, "checkpoint")]
        assert "checkpoint/model.safetensors" in files
    assert any(name.startswith("gate/") for name in runs["fuse"].data.metrics)
    figures = [item.path for item in client.list_artifacts(runs["results"].info.run_id, "figures")]
    assert "figures/blur_ladder.png" in figures


def test_the_report_is_rebuilt_from_its_data(finished: Path, tmp_path: Path) -> None:
    arguments = ["report", str(finished), "--out", str(tmp_path / "again.html"), "--json", str(tmp_path / "again.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((finished / "out.json").read_text())
    assert (tmp_path / "again.html").read_text() == (finished / "report.html").read_text()


def test_one_run_has_a_report_of_its_curves(finished: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(finished / "fuse"), "--out", str(tmp_path / "fuse.html")])
    assert result.exit_code == 0, result.output
    assert "data:image/png;base64," in (tmp_path / "fuse.html").read_text()


def test_evaluate_gives_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    runs = [str(finished / "fuse"), "--control", str(finished / "control"), "--workers", "0"]
    arguments = ["evaluate", *runs, "--json", str(tmp_path / "e.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    first, second = (json.loads(path.read_text())["rows"] for path in (finished / "out.json", tmp_path / "e.json"))
    assert first == second
    # Kept beside the run, and at MLflow: what `compare` shows as held-out samples.
    assert json.loads((finished / "fuse" / "result.json").read_text())["rows"] == first
    found = MlflowClient(default_uri(finished)).search_runs(["1"], "attributes.run_name = 'fuse'")[0].data.metrics
    (row,) = [r for r in first if (r["input"], r["blur"], r["metric"]) == ("events_blurry", "hard", "viou")]
    assert (found["hard/viou"], found["hard/viou/low"]) == (row["mean"], row["low"])


def test_evaluate_at_other_exposures_keeps_shapes_and_draws_attention(finished: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept"
    arguments = ["evaluate", str(finished / "fuse"), "--workers", "0", "--out", str(out), "--attention", "1"]
    arguments += ["--exposure-ms", "4", "--exposure-ms", "25", "--input", "events_only", "--input", "events_blurry"]
    arguments += [
        "--align",
        "none",
        "--save-predictions",
        str(kept),
        "--json",
        str(tmp_path / "e.json"),
        "--by",
        "object",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "e.json").read_text())
    assert {(row["input"], row["blur"]) for row in found["rows"]} == {
        (name, blur) for name in ("events_only", "events_blurry") for blur in ("4ms", "25ms")
    }
    assert {"viou", "viou_solid/none", "cd_normal/none", "f_score_0.02/none"} <= {
        row["metric"] for row in found["rows"]
    }
    assert {row["grouping"] for row in found["groups"]} == {"object"}
    files = sorted(kept.rglob("occupancy.safetensors"))
    assert len(files) == 2 * found["rows"][0]["num_objects"]
    assert (out / "attention" / "attention_0.png").read_bytes().startswith(b"\x89PNG")
    assert "Where the encoders look" in (out / "report.html").read_text()


def test_an_exposure_that_the_paths_are_too_short_for_is_refused(finished: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(finished / "fuse"), "--exposure-ms", "100", "--workers", "0"])
    assert isinstance(result.exception, ValueError) and "80 frames leave 0 targets" in str(result.exception)


def test_a_demo_is_not_merged_with_itself(finished: Path, tmp_path: Path) -> None:
    twice = ["report", str(finished), str(finished), "--out", str(tmp_path / "both.html")]
    result = CliRunner().invoke(app, twice)
    assert isinstance(result.exception, ValueError) and "different seeds" in str(result.exception)


def test_given_meshes_are_held_out(tmp_path: Path) -> None:
    import trimesh

    (tmp_path / "meshes").mkdir()
    trimesh.creation.capsule().export(tmp_path / "meshes" / "capsule.obj")
    assert load_mesh(tmp_path / "meshes" / "capsule.obj").closed
    job = Demo(tmp_path, SMALL, 0, tmp_path / "meshes", (), Resources(), Tracking())
    splits = {name: source.split or job._settings().split_of(source.index) for name, source in job._sources().items()}
    assert [name for name, split in splits.items() if split == "test"] == ["capsule"]
