"""The report of a sweep: its order of trials, importance against chance, figures, and a page without addresses."""

import re
from pathlib import Path

import numpy as np
import pytest

from eventsam.report.sweep import Axis, SweepReport, TrialRow
from eventsam.report.sweep_figures import all_figures
from eventsam.report.sweep_html import write_sweep_report
from eventsam.report.sweep_importance import common_samples, importances

AXES = (
    Axis("task.fusion", ("gated", "attn", "cattn")),
    Axis("optimizer.learning_rate", low=1e-4, high=1e-2, log=True),
    Axis("noise", ("a", "b")),
)


def trials(num: int = 18, seed: int = 0, effect: float = 0.3) -> list[TrialRow]:
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(num):
        fusion, noise = AXES[0].labels[number % 3], AXES[2].labels[int(generator.integers(2))]
        rate = float(10 ** generator.uniform(-4, -2))
        end = 0.3 + effect * (fusion == "cattn") + 0.05 * generator.random()
        whole = number % 4 != 3
        curve = [(100.0 * i, end * (1 - 0.5**i)) for i in range(1, 9 if whole else 3)]
        rows.append(
            TrialRow(
                f"p{number:03d}", {"task.fusion": fusion, "optimizer.learning_rate": rate, "noise": noise},
                "finished" if whole else "stopped", int(curve[-1][0]), curve[-1][1], curve=curve,
                seconds=20.0 if whole else 6.0, train_s=16.0 if whole else 4.0, data_wait_s=1.0,
            )
        )  # fmt: skip
    failed = TrialRow("p900", {"task.fusion": "attn"}, "failed", 100, None, cause="the loss became NaN <at once>")
    return [*rows, failed]


def report(**changes: object) -> SweepReport:
    parts = {
        "title": "fuse swept over fusion_designs", "subtitle": "18 trials", "metric": "viou", "mode": "max",
        "axes": AXES, "trials": trials(), "budget": 800, "command": "eventsam train fuse --set task.fusion=cattn",
        "rungs": (100.0, 300.0), "facts": {"executor": "in_trial"}, "notes": ("p002 is best.",),
    }  # fmt: skip
    return SweepReport(**(parts | changes))  # type: ignore[arg-type]


def test_a_stopped_trial_cannot_win() -> None:
    lucky = TrialRow("p777", {}, "stopped", 100, 0.99)
    made = report(trials=[*trials(), lucky])
    assert made.winner is not None
    assert made.winner.values["task.fusion"] == "cattn"
    assert made.ranked[-1].samples == 100
    lowest = report(mode="min").winner
    assert lowest is not None
    assert lowest.score == min(trial.score for trial in trials() if trial.status == "finished" and trial.score)


def test_importance_finds_the_parameter_that_matters_and_no_other() -> None:
    found = {item.name: item for item in importances(report(), common_samples(report()))}
    assert found["task.fusion"].share > 0.8
    assert found["task.fusion"].told_apart
    assert not found["noise"].told_apart
    assert not found["optimizer.learning_rate"].told_apart


def test_scores_are_compared_at_the_samples_that_all_reached() -> None:
    assert common_samples(report()) == 200.0


def test_without_an_effect_nothing_is_told_apart_more_often_than_chance() -> None:
    told = [
        item.told_apart
        for seed in range(12)
        for item in importances(report(trials=trials(24, seed, effect=0.0)), 200.0)
    ]
    assert np.mean(told) < 0.15


def test_few_trials_or_equal_scores_say_nothing() -> None:
    assert importances(report(trials=trials(4)), 200.0) == []
    equal = [TrialRow(f"p{i}", {"noise": "ab"[i % 2]}, "finished", 100, 0.5, curve=[(100.0, 0.5)]) for i in range(9)]
    assert importances(report(trials=equal), 100.0) == []


def test_the_page_stands_alone_and_says_what_failed(tmp_path: Path) -> None:
    figures = write_sweep_report(tmp_path / "report.html", report())
    assert set(figures) == {"parallel_coordinates", "learning_curves", "importance", "cost"}
    assert all(png.startswith(b"\x89PNG") for png in figures.values())
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    assert "the loss became NaN &lt;at once&gt;" in text
    assert "eventsam train fuse --set task.fusion=cattn" in text
    assert text.index("The winning recipe") < text.index("Trials</h2>")


@pytest.mark.parametrize("rows", [[], [TrialRow("p0", {}, "failed", 0, None, cause="x")]])
def test_a_sweep_without_a_score_has_a_page_too(rows: list[TrialRow], tmp_path: Path) -> None:
    write_sweep_report(tmp_path / "report.html", report(trials=rows, command=""))
    assert "No trial has a score" in (tmp_path / "report.html").read_text()


def test_intervals_of_seeds_are_shown(tmp_path: Path) -> None:
    rows = [TrialRow("p0", {"noise": "a"}, "finished", 800, 0.5, 0.45, 0.55, curve=[(800.0, 0.5)], seconds=3.0)]
    write_sweep_report(tmp_path / "report.html", report(trials=rows, num_seeds=3))
    assert "[0.450, 0.550]" in (tmp_path / "report.html").read_text()


def test_the_median_of_two_lies_between_them(tmp_path: Path) -> None:
    rows = [
        TrialRow(f"p{i}", {"noise": "a"}, "finished", 800, score, curve=[(800.0, score)])
        for i, score in enumerate((0.5, 0.7))
    ]
    write_sweep_report(tmp_path / "report.html", report(trials=rows))
    assert "<b>0.600</b><span>of 2 trials" in (tmp_path / "report.html").read_text()


def test_places_on_axes() -> None:
    assert AXES[0].place("attn") == pytest.approx(0.5)
    assert AXES[1].place(1e-3) == pytest.approx(0.5)
    assert AXES[1].place(1.0) == 1.0


def test_all_figures_of_a_single_trial_can_be_drawn() -> None:
    row = TrialRow("p0", {"noise": "a"}, "finished", 800, 0.5, curve=[(800.0, 0.5)], seconds=3.0)
    assert set(all_figures(report(trials=[row]), [])) == {"parallel_coordinates", "learning_curves", "cost"}
