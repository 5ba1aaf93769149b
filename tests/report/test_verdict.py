"""The verdict says what the intervals say, pleasant or not."""

import numpy as np
import pytest

from eventsam.report.data import Difference, Share
from eventsam.report.verdict import judge, verdict

NONE = Share(None, None, None)


def difference(low: float, high: float, first="events_blurry", second="blurry_rgb", seed=0, metric="viou"):
    return Difference(first, second, "hard", metric, (low + high) / 2, low, high, 24, seed)


def shares(ours: Share = NONE, control: Share = NONE, edi: Share = NONE) -> dict:
    return {"events_blurry": {"hard": ours}, "control": {"hard": control}, "edi": {"hard": edi}}


@pytest.fixture
def rows(make_rows):
    return [row for row in make_rows(np.random.default_rng(0)) if row.blur == "hard"]


def hard(rows, differences, gap_closed=None, metric="viou") -> str:
    sentences = verdict(rows, differences, gap_closed or shares(), metric)
    assert all(sentence.startswith("Hard blur: ") for sentence in sentences)
    return " ".join(sentences)


GAIN = [difference(0.05, 0.11), difference(0.02, 0.09, seed=1)]


@pytest.mark.parametrize(
    ("intervals", "metric", "expected"),
    [
        ([(0.1, 0.2), (0.01, 0.3)], "viou", "better"),
        ([(0.1, 0.2), (0.0, 0.3)], "viou", "unclear"),
        ([(0.1, 0.2), (-0.3, -0.1)], "viou", "unclear"),
        ([(-0.2, -0.1)], "viou", "worse"),
        ([(-0.2, -0.1)], "chamfer", "better"),
        ([(0.1, 0.2)], "chamfer", "worse"),
        ([(float("nan"), float("nan"))], "viou", "unclear"),
        ([], "viou", "missing"),
    ],
)
def test_a_gain_needs_the_whole_interval_for_every_seed(intervals, metric: str, expected: str) -> None:
    assert judge([difference(*bounds, metric=metric) for bounds in intervals]) == expected


def test_gain_and_gap(rows) -> None:
    text = hard(rows, GAIN, shares(Share(0.42, 0.31, 0.55)))
    assert "beats blurry RGB alone: vIoU +0.080 [+0.050, +0.110] and +0.055 [+0.020, +0.090] (seeds 0, 1)" in text
    assert "the whole 95 % interval above zero" in text
    assert "42 % [31 %, 55 %] of the gap between blurry and sharp RGB is closed." in text


def test_no_gain_is_said(rows) -> None:
    text = hard(rows, [difference(-0.01, 0.05), difference(0.01, 0.04, seed=1)])
    assert "No gain over blurry RGB alone is shown" in text and "not wholly above zero" in text


def test_being_worse_is_said(rows) -> None:
    text = hard(rows, [difference(-0.09, -0.02)], shares(Share(-0.3, -0.5, -0.1)))
    assert "Worse than blurry RGB alone" in text and "the whole 95 % interval below zero" in text
    assert "gap to sharp RGB is widened by 30 %" in text


def test_lower_is_better_metrics_turn_the_side(rows) -> None:
    text = hard(rows, [difference(-0.02, -0.01, metric="chamfer")], metric="chamfer")
    assert "beats blurry RGB alone: Chamfer distance −0.015" in text and "interval below zero" in text


def test_no_gap_states_no_share(rows) -> None:
    text = hard(rows, GAIN)
    assert (
        "No share of the gap is stated: sharp RGB (0.7" in text and "%" not in text.split("No share")[1].split(".")[0]
    )


def test_a_gap_without_a_share_is_not_called_missing(rows) -> None:
    clear = difference(0.1, 0.2, "sharp_rgb", "blurry_rgb")
    assert "What share of the gap is closed was not computed" in hard(rows, [*GAIN, clear])


def test_a_share_without_an_interval_is_not_told_apart_from_zero(rows) -> None:
    text = hard(rows, GAIN, shares(Share(0.15, None, None)))
    assert "A share of 15 % of the gap comes out, but no 95 % interval" in text and "not told apart from zero" in text


def test_a_share_of_an_unclear_gap_is_qualified(rows) -> None:
    unclear = difference(-0.01, 0.02, "sharp_rgb", "blurry_rgb")
    assert "share means little" in hard(rows, [*GAIN, unclear], shares(Share(2.5, -3.0, 9.0)))


def test_control_that_explains_the_gain(rows) -> None:
    beside = difference(-0.02, 0.02, second="control")
    text = hard(rows, [*GAIN, beside], shares(Share(0.4, 0.3, 0.5), Share(0.39, 0.3, 0.5)))
    assert "The control (closes 39 %) explains the gain" in text
    assert "adapting to blur, not the events" in text


def test_control_that_is_not_told_apart_but_gains_nothing_itself(rows) -> None:
    beside = difference(-0.02, 0.09, second="control")
    text = hard(rows, [*GAIN, beside], shares(Share(0.4, 0.3, 0.5), Share(0.1, -0.2, 0.4)))
    assert "not shown to come from the events" in text and "explains" not in text
    own = difference(0.01, 0.05, "control", "blurry_rgb")
    assert "explains the gain" in hard(rows, [*GAIN, beside, own], shares(Share(0.4, 0.3, 0.5)))


def test_control_that_is_left_behind(rows) -> None:
    both, ours = [*GAIN, difference(0.03, 0.06, second="control")], Share(0.4, 0.3, 0.5)
    text = hard(rows, both, shares(ours, Share(-0.1, -0.2, 0.0)))
    assert "The control (widens the gap by 10 %) does not explain the gain: events add +0.045" in text
    text = hard(rows, both, shares(ours, Share(0.1, 0.0, 0.2)))
    assert "explains a part of the gain, 25 % of what is closed, but not all: events add +0.045" in text
    assert "explains most of the gain, 75 % of" in hard(rows, both, shares(ours, Share(0.3, 0.2, 0.4)))


def test_control_that_is_better(rows) -> None:
    text = hard(rows, [*GAIN, difference(-0.06, -0.03, second="control")])
    assert "The control, which sees no events, does better" in text


def test_control_without_a_gain_of_ours(rows) -> None:
    none = [difference(-0.02, 0.02)]
    assert "Ahead of the control" in hard(rows, [*none, difference(0.01, 0.02, second="control")])
    assert "Not told apart from the control" in hard(rows, [*none, difference(-0.01, 0.02, second="control")])
    assert "No control was compared" in hard(rows, none)


@pytest.mark.parametrize(
    ("bounds", "words"), [((0.01, 0.02), "Ahead of EDI"), ((-0.02, -0.01), "does better"), ((-1, 1), "Not told apart")]
)
def test_edi(rows, bounds, words: str) -> None:
    text = hard(rows, [*GAIN, difference(*bounds, second="edi")], shares(edi=Share(-0.2, -0.3, -0.1)))
    assert words in text and "EDI, then RGB (widens the gap by 20 %)" in text


def test_levels_come_hardest_first_and_only_where_there_are_rows(make_rows, make_differences) -> None:
    sentences = verdict(make_rows(np.random.default_rng(0)), make_differences(), {})
    heads = list(dict.fromkeys(sentence.partition(":")[0] for sentence in sentences))
    assert heads == ["Hard blur", "Medium blur", "Easy blur"]
    assert verdict([], [], {}) == ()
