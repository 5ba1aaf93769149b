"""docs/scaling.md: its numbers follow from those it states as measured, by the code that it speaks of."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

NAME = "platform_scaling"
SPEC = importlib.util.spec_from_file_location(NAME, Path(__file__).parents[1] / "benchmarks" / f"{NAME}.py")
assert SPEC is not None
assert SPEC.loader is not None
page = importlib.util.module_from_spec(SPEC)
sys.modules[NAME] = page
SPEC.loader.exec_module(page)

TEXT = page.PAGE.read_text()
MEASURED = page.from_page(TEXT)


def test_the_page_is_what_its_measured_numbers_make_of_it() -> None:
    assert page.rewritten(TEXT, MEASURED) == TEXT


def test_the_predictions_are_the_models() -> None:
    worths = {"endless": float("inf"), "1.4 readers' worth": 1.4}
    for name in page.CHECKED:
        worth = next(worth for trainer, worth in worths.items() if trainer in name)
        # The reader was measured twice, by two parts of the table: the same within a sixth. NaN: not measured yet.
        assert math.isnan(MEASURED[name].peer) or MEASURED[name].peer == pytest.approx(
            page.predicted(MEASURED, int(name[0]), worth), rel=1 / 6
        )


def test_the_budgets_are_the_arithmetic_on_paper() -> None:
    budgets = dict(line.strip("| ").split(" | ")[:2] for line in page.tables(MEASURED)["budgets"].splitlines()[2:])
    cost, model = page.cost_of(MEASURED, page.LARGE), page.pipeline_of(MEASURED, page.LARGE, 1000)
    assert float(budgets["over the network, GB/s"]) == pytest.approx(1000 * 100 * cost.bytes / 1e9, rel=0.01)
    needed = 1.1 * 1e5 * (model.samples_per_block * cost.seconds + 0.05) / model.samples_per_block
    assert 0 <= int(budgets["reading cores"]) - needed <= 1
    assert float(budgets["blocks/s"]) == pytest.approx(1e5 / model.samples_per_block, rel=0.01)


def test_every_recipe_is_there() -> None:
    rows = page.tables(MEASURED)["gpu"].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == list(page.RECIPES)
