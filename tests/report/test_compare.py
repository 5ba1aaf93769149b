"""Comparisons of made-up runs: order, winners, groups over seeds, many runs, and a recipe that names what is gone."""

import json
from pathlib import Path

import pytest

from eventsam.metrics_log import append_line
from eventsam.report.compare import ComparedRun, Score, compare, mean_interval
from eventsam.report.compare_folders import run_folders, run_of_folder
from eventsam.report.compare_page import comparison_html
from eventsam.report.compare_table import compare_csv, compare_text, lines
from eventsam.tracking.card import RunCard, write_card


def run(name: str, viou: float, seed: int = 0, **parameters: object) -> ComparedRun:
    return ComparedRun(
        name,
        "finished",
        {"task": "Fuse", "data.root": "/a", **parameters, "seed": seed},
        {"viou": Score(viou), "chamfer": Score(1 - viou)},
        monitor="viou",
    )


def test_runs_are_ranked_by_what_they_monitor_and_winners_marked() -> None:
    found = compare([run("a", 0.3, rate=1.0), run("b", 0.5, rate=2.0), run("c", float("nan"), rate=3.0)])
    assert [item.name for item in found.runs] == ["b", "a", "c"]
    assert found.differing == ("rate",)
    assert found.shared["task"] == "Fuse"
    assert found.winners("best", "viou") == found.winners("best", "chamfer") == {0}


def test_a_monitor_to_be_minimised_ranks_the_other_way() -> None:
    runs = [
        ComparedRun(n, "", {}, {"odd": Score(v)}, monitor="odd", lower_is_better=True)
        for n, v in (("a", 2.0), ("b", 1.0))
    ]
    found = compare(runs)
    assert [item.name for item in found.runs] == ["b", "a"]
    assert found.winners("best", "odd") == {0}


def test_where_things_lie_and_seeds_come_last() -> None:
    first, second = run("a", 0.1, 0), run("b", 0.1, 1, **{"data.root": "/b", "zeal": 2})
    assert compare([first, second]).differing == ("zeal", "data.root", "seed")


def test_seeds_of_one_recipe_give_a_mean_with_its_interval() -> None:
    runs = [run("a", 0.40, 0), run("b", 0.44, 1), run("c", 0.42, 2), run("d", 0.9, 0, rate=3)]
    (group,) = compare(runs).groups
    assert set(group.names) == {"a", "b", "c"}
    score = group.scores["viou"]
    assert score.value == pytest.approx(0.42)
    # Student's t with 2 degrees of freedom: 4.303 x 0.02 / sqrt(3).
    assert score.low == pytest.approx(0.42 - 4.30265 * 0.02 / 3**0.5, abs=1e-5)
    assert mean_interval([1.0]) == Score(1.0)


def test_many_runs_become_rows_and_nothing_is_cut() -> None:
    runs = [run(f"trial_{number:02d}_with_a_long_name", 0.01 * number, rate=float(number)) for number in range(40)]
    text = compare_text(compare(runs), width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert "0.390 *" in text
    assert len(compare_csv(compare(runs)).splitlines()) == 41
    assert comparison_html(compare(runs), "x").count("<tr") == 1 + 40 + 3


def test_more_quantities_than_a_terminal_is_wide_follow_below_each_with_the_runs_names() -> None:
    runs = [run(f"r{number}", 0.01 * number, **{f"p{place}": number for place in range(30)}) for number in range(8)]
    text = compare_text(compare(runs), width=100)
    assert max(map(len, text.splitlines())) <= 100
    for name in (*(f"p{place}" for place in range(30)), "vIoU", "0.070 *"):
        assert name in text
    assert text.count("r7") == 5  # 33 quantities, seven at once


def test_markup_in_names_stays_text() -> None:
    page = comparison_html(compare([run("<script>", 0.1, note="[bold]"), run("b", 0.2, note="&")]), "a < b")
    assert "<script>" not in page
    assert "[bold]" in compare_text(compare([run("<script>", 0.1, note="[bold]"), run("b", 0.2, note="&")]))


def test_one_run_alone_is_shown_and_none_is_refused() -> None:
    assert next(line.group for line in lines(compare([run("a", 0.1)]))) == "best checkpoint"
    with pytest.raises(ValueError, match="no run to compare"):
        compare([])


def test_a_recipe_of_another_release_is_compared_as_it_is_written(tmp_path: Path) -> None:
    call = {"call": "eventsam.tasks.gone:Gone", "arguments": {"depth": 3, "parts": [{"call": "a:B", "arguments": {}}]}}
    recipe = {"call": "eventsam.recipe:Recipe", "arguments": {"task": call, "seed": 1}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    found = run_of_folder(tmp_path)
    assert found.parameters == {"task": "Gone", "task.depth": 3, "task.parts.0": "B", "seed": 1}
    assert found.status == "no records"


def test_a_demos_results_carry_their_inputs_and_its_stages_theirs(tmp_path: Path) -> None:
    rows = [
        {"input": name, "blur": "hard", "metric": "viou", "mean": mean, "low": mean - 0.1, "high": None}
        for name, mean in (("events_blurry", 0.5), ("control", 0.4))
    ]
    (tmp_path / "result.json").write_text(json.dumps({"rows": rows}))
    for stage in ("fuse", "control"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "recipe.json").write_text(json.dumps({"call": "a:B", "arguments": {"seed": 3}}))
    whole = run_of_folder(tmp_path)
    assert whole.results["control/hard/viou"] == Score(0.4, pytest.approx(0.3), None)
    assert whole.parameters["fuse.seed"] == 3
    assert run_of_folder(tmp_path / "fuse").results == {"hard/viou": Score(0.5, 0.4, None)}


def test_a_sweeps_trials_are_compared_by_their_cards_and_best_validations(tmp_path: Path) -> None:
    sweep = tmp_path / "designs"
    for name, rate, values in (("p000", "0.01", (0.2, 0.5, 0.4)), ("p001", "0.02", (0.1, 0.3, float("nan")))):
        folder = sweep / "trials" / name
        parameters = {"optimizer.learning_rate": rate, "swept.optimizer.learning_rate": rate,
                      "monitor.metric": "viou", "monitor.mode": "max"}  # fmt: skip
        write_card(folder, RunCard("sqlite:///x.db", "x", name, name, parameters=parameters))
        for step, viou in enumerate(values, 1):
            append_line(folder / "metrics.jsonl", {"step": step, "val/viou": viou, "val/chamfer": 1 - viou})
    (sweep / "result.json").write_text(json.dumps({"metric": "viou", "trials": []}))
    (sweep / "metrics.jsonl").write_text("")
    found = compare(run_of_folder(folder) for folder in run_folders(sweep))
    assert [run.name for run in found.runs] == ["p000", "p001"]
    assert found.differing == ("optimizer.learning_rate",)
    assert found.runs[0].best == {"viou": Score(0.5), "chamfer": Score(0.5)}
    assert found.runs[1].best["viou"] == Score(0.3)
