"""Chaos: the schedule of a seed, the figures of two runs, and (slow) real kills of workers and nodes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eventsam.metrics_log import append_line
from eventsam.recipe import load_recipe
from eventsam.spec import get, replace
from ray_jobs.chaos import small_job
from ray_jobs.chaos_plan import Done, Kill, compare, schedule, steps_of, with_returns

ROOT = Path(__file__).resolve().parents[2]


def test_a_seed_gives_one_schedule_of_the_asked_rate() -> None:
    kills = schedule(30.0, 400, 7, 0.25)
    assert kills == schedule(30.0, 400, 7, 0.25)
    assert kills != schedule(30.0, 400, 8, 0.25)
    assert sum(kill.after_s for kill in kills) / 400 == pytest.approx(30.0, rel=0.1)
    assert all(15.0 <= kill.after_s <= 45.0 for kill in kills)
    assert sum(kill.victim == "node" for kill in kills) / 400 == pytest.approx(0.25, abs=0.08)


def test_impossible_schedules_are_refused() -> None:
    for arguments in ((0.0, 1, 0, 0.0), (1.0, -1, 0, 0.0), (1.0, 1, 0, 1.5)):
        with pytest.raises(ValueError, match="allowed: above 0"):
            schedule(*arguments)


def write_run(folder: Path, steps: list[tuple[int, float]], *, rows: int = 2, last_id: str | None = None) -> Path:
    """A run's log and audit: one line per (step, second of its end); batch b holds samples 2b and 2b+1."""
    folder.mkdir()
    for step, second in steps:
        record = {"step": step, "loss": 1.0 / step, "step_s": 0.4, "data_wait_s": 0.1, "time": second}
        append_line(folder / "metrics.jsonl", record)
        ids = [f"s{rows * (step - 1) + row}" for row in range(rows)]
        if last_id and step == 4:
            ids[-1] = last_id
        audit = {"position": rows * (step - 1), "rank": 0, "num_workers": 1, "sample_ids": ids}
        append_line(folder / "consumed.jsonl", audit)
    return folder


CALM = [(step, 100.0 + step / 2) for step in range(1, 5)]
SHAKEN = [(1, 200.5), (2, 201.0), (3, 201.5), (2, 211.0), (3, 211.5), (4, 212.0)]


def test_the_figures_of_a_run_that_was_killed_once(tmp_path: Path) -> None:
    calm, chaos = write_run(tmp_path / "calm", CALM), write_run(tmp_path / "chaos", SHAKEN)
    done = with_returns([Done(Kill(1.0, "worker", 0.0), 201.6, 3, "worker 1", None)], chaos)
    report = compare(calm, chaos, 2, done, 16.0)
    assert (report["ids_equal"], report["losses_equal"]) == (True, True)
    assert (report["restarts"], report["redone_steps"]) == (1, 2)
    assert report["kills"][0]["back_after_s"] == pytest.approx(9.4)
    assert steps_of(chaos).span_s == pytest.approx(12.0)
    assert report["goodput"] == pytest.approx(4 * 0.5 / 12.0)
    assert report["goodput_with_start"] == pytest.approx(4 * 0.5 / 16.0)


def test_other_samples_and_other_losses_are_found(tmp_path: Path) -> None:
    calm = write_run(tmp_path / "calm", CALM)
    other = write_run(tmp_path / "other", CALM, last_id="x")
    report = compare(calm, other, 2, [], 3.0)
    assert (report["ids_equal"], report["ids_problem"]) == (False, "global batch 3 differs")
    short = write_run(tmp_path / "short", CALM[:3])
    report = compare(calm, short, 2, [], 3.0)
    assert (report["losses_equal"], report["first_different_step"]) == (False, 4)
    changed = write_run(tmp_path / "changed", SHAKEN)
    append_line(changed / "consumed.jsonl", {"position": 0, "rank": 0, "num_workers": 1, "sample_ids": ["s9", "s1"]})
    assert "position 0 held 's0', then 's9'" in compare(calm, changed, 2, [], 3.0)["ids_problem"]


def test_a_recipe_without_data_gets_small_objects_and_others_say_what_they_need(tmp_path: Path) -> None:
    recipe = small_job(load_recipe("reconstruct"), tmp_path, 40, 5)
    assert (tmp_path / "catalog" / "catalog.json").exists()
    assert get(recipe, "budget.num_samples") == 40 * get(recipe, "budget.global_batch_size")
    with pytest.raises(ValueError, match=r"give it with --set data.root=CATALOG"):
        small_job(replace(load_recipe("reconstruct"), "data.dataset", "davis"), tmp_path, 40, 5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_workers_and_nodes_leave_the_calm_runs_ids_and_losses(tmp_path: Path) -> None:
    command = "import typer; from ray_jobs.chaos_command import chaos; typer.run(chaos)"
    result = subprocess.run(
        [sys.executable, "-c", command, "reconstruct", "--kill-every", "20", "--kills", "3", "--seed", "2",
         "--node-share", "0.5", "--workers", "2", "--nodes", "2", "--out", str(tmp_path),
         "--json", str(tmp_path / "chaos.json")],
        capture_output=True, text=True, timeout=850, cwd=ROOT,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "chaos.json").read_text())
    assert {kill["victim"] for kill in report["kills"]} == {"worker", "node"}
    assert report["ids_equal"] and report["losses_equal"]
    assert report["restarts"] >= 1
    assert 0 < report["goodput"] < 1
