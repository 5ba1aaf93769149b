"""Tables of measured samples: levels, pairs, groups, the file, several runs together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eventsam.report.attention import attention_sheet
from eventsam.report.data import AttentionRow, ReportData
from eventsam.report.html import report_html
from eventsam.report.measured import (
    Measured,
    differences_of,
    groups_of,
    load_measured,
    rows_of,
    save_measured,
    shares_of,
)
from eventsam.report.merge import merged_report, pooled
from eventsam.report.storage import load, save
from eventsam.report.summary import table_text


def measured(seed: int = 0, catalog: str = "c0ffee", blurs: tuple[str, ...] = ("hard", "easy")) -> Measured:
    rng = np.random.default_rng(seed)
    objects = np.repeat([f"o{i}" for i in range(8)], 2)
    num = 16 * len(blurs)
    blur = np.repeat(blurs, 16)
    objects = np.tile(objects, len(blurs))
    lost = np.where(blur == blurs[0], 0.3, 0.1)
    noise = 0.01 * rng.standard_normal((4, num))
    shares = {"sharp_rgb": 0.0, "events_blurry": 0.5, "blurry_rgb": 1.0, "control": 1.0}
    values = {f"{name}/viou": 0.8 - share * lost + n for (name, share), n in zip(shares.items(), noise, strict=True)}
    values |= {name.replace("viou", "chamfer"): 0.1 * (1 - value) for name, value in values.items()}
    categories = np.where(np.isin(objects, ["o0", "o1"]), "chair", "toaster")
    names = np.array([f"{o}/{i}/{b}" for i, (o, b) in enumerate(zip(objects, blur, strict=True))])
    return Measured(names, objects, blur, values, seed, catalog, categories, categories == "chair")


def test_levels_are_named_ones_first_then_exposures_by_length() -> None:
    one = measured(blurs=("100ms", "hard", "5ms", "easy", "25ms"))
    assert [blur for blur, _ in one.levels()] == ["easy", "hard", "5ms", "25ms", "100ms"]


def test_rows_differences_and_shares() -> None:
    one = measured()
    rows = {(row.input, row.blur, row.metric): row for row in rows_of(one)}
    assert len(rows) == 4 * 2 * 2
    row = rows["blurry_rgb", "hard", "viou"]
    chosen = one.blurs == "hard"
    assert row.mean == pytest.approx(one.values["blurry_rgb/viou"][chosen].mean())
    assert row.low < row.mean < row.high and row.num_objects == 8
    pairs = {(d.first, d.second) for d in differences_of(one)}
    assert ("events_blurry", "blurry_rgb") in pairs and not any("edi" in pair for pair in pairs)
    assert shares_of(one)["events_blurry"]["hard"].share == pytest.approx(0.5, abs=0.05)
    assert shares_of(replace(one, values={"edi/viou": one.values["control/viou"]})) == {}


def test_groups_by_object_category_and_seen() -> None:
    one = measured()
    rows = groups_of(one, ("object", "category", "seen"))
    found = {(row.grouping, row.group): row.num_objects for row in rows}
    assert found["category", "chair"] == found["seen", "seen"] == 2 and found["seen", "unseen"] == 6
    assert sum(grouping == "object" for grouping, _ in found) == 8
    chair = next(r for r in rows if (r.group, r.input, r.blur, r.metric) == ("chair", "control", "easy", "viou"))
    inside = (one.categories == "chair") & (one.blurs == "easy")
    assert chair.mean == pytest.approx(one.values["control/viou"][inside].mean())
    with pytest.raises(ValueError, match="the catalog has no column 'category'"):
        groups_of(replace(one, categories=None, seen=None), ("seen",))
    with pytest.raises(ValueError, match="unknown grouping 'colour'"):
        groups_of(one, ("colour",))


def test_the_file_gives_back_what_was_measured(tmp_path: Path) -> None:
    for one in (measured(3), replace(measured(3), categories=None, seen=None)):
        save_measured(one, tmp_path / "new" / "samples.parquet")
        again = load_measured(tmp_path / "new" / "samples.parquet")
        assert rows_of(again) == rows_of(one) and (again.seed, again.catalog) == (3, "c0ffee")
        assert (again.categories is None) == (one.categories is None)
    with pytest.raises(ValueError, match=r"no samples\.parquet in"):
        load_measured(tmp_path / "samples.parquet")
    with pytest.raises(ValueError, match=r"\(3,\) values for \(32,\) samples"):
        replace(measured(), values={"edi/viou": np.zeros(3)})


def test_runs_of_several_seeds_are_pooled_over_objects() -> None:
    runs = [measured(0), measured(1)]
    together = pooled(runs)
    assert len(np.unique(together.objects)) == 8
    assert len(np.unique(pooled([measured(0), measured(1, "other")]).objects)) == 16
    report = merged_report(["a", "b"], runs, ["eventsam report a b"])
    cell = next(row for row in report.pooled_rows if (row.input, row.blur, row.metric) == ("control", "hard", "viou"))
    means = [row.mean for row in report.rows if (row.input, row.blur, row.metric) == ("control", "hard", "viou")]
    assert len(means) == 2 and cell.mean == pytest.approx(np.mean(means)) and cell.num_objects == 8
    assert {row.seed for row in report.rows} == {0, 1}
    assert "seeds 0, 1" in " ".join(report.notes)
    assert "Over all runs" in report_html(report)
    assert "all runs" in table_text(report)


def test_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(ValueError, match="a: seed 0, b: seed 0"):
        merged_report(["a", "b"], [measured(), measured()])
    with pytest.raises(ValueError, match="different seeds, got a: seed 0"):
        merged_report(["a"], [measured()])
    other = replace(measured(1), values={"edi/viou": np.zeros(32)})
    with pytest.raises(ValueError, match="no input and metric in common"):
        merged_report(["a", "b"], [measured(), other])


def test_groups_and_attention_are_shown_and_saved(example, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (3, 32, 32), dtype=np.uint8) for name in ("teacher", "student")}
    maps = {name: rng.random((2, 4, 4), dtype=np.float32) for name in ("teacher", "student")}
    row = AttentionRow("chair/0", (1, 3), images, maps)
    one = measured()
    report = ReportData(
        example.title,
        groups=groups_of(one, ("category", "object"), ("viou",)),
        attention=(row,),
        pooled_rows=rows_of(one),
        pooled_differences=differences_of(one),
    )
    page = report_html(report)
    assert "vIoU by category, hard blur, seed 0" in page and "Where the encoders look" in page and "block 3" in page
    save(report, tmp_path)
    again = load(tmp_path)
    # One object has no interval, and NaN equals nothing: compared as text.
    assert str(again.groups) == str(tuple(report.groups))
    assert again.pooled_differences == tuple(report.pooled_differences)
    assert np.array_equal(again.attention[0].maps["student"], maps["student"]) and again.attention[0].blocks == (1, 3)
    assert attention_sheet(row).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"maps of teacher are \(2, 4, 4\), expected \(1, h, w\)"):
        AttentionRow("x", (1,), images, maps)
