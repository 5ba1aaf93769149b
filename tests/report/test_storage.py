"""A report survives the way to disk and back, and damage on the way is named."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from eventsam.report.data import ReportData, ResultRow, SampleRow, Share
from eventsam.report.html import report_html
from eventsam.report.storage import load, save


def test_round_trip_rebuilds_the_same_report(example, tmp_path) -> None:
    save(example, tmp_path / "deep" / "run")
    again = load(tmp_path / "deep" / "run")
    for name in ("title", "rows", "differences", "gap_closed", "losses", "seconds", "peak_memory_bytes", "commands"):
        kind = type(getattr(again, name))
        assert getattr(again, name) == kind(getattr(example, name)) if kind is tuple else getattr(example, name)
    for first, second in zip(example.samples, again.samples, strict=True):
        assert (first.title, first.blur, dict(first.scores)) == (second.title, second.blur, dict(second.scores))
        for stored, read in ((first.images, second.images), (first.occupancies, second.occupancies)):
            assert list(stored) == list(read)
            for name in stored:
                np.testing.assert_array_equal(stored[name], read[name])
                assert stored[name].dtype == read[name].dtype


def test_rebuilt_report_gives_the_same_page(example, tmp_path) -> None:
    short = replace(example, samples=example.samples[:1], losses={"fuse": example.losses["distill"]})
    save(short, tmp_path)
    assert report_html(load(tmp_path)) == report_html(short)


def test_numbers_that_json_cannot_hold_become_null_and_nan(tmp_path) -> None:
    report = ReportData(
        "x",
        rows=[ResultRow("edi", "hard", "viou", math.nan, math.nan, math.nan, 0, 0)],
        gap_closed={"edi": {"hard": Share(None, None, None)}},
        losses={"fuse": [{"step": np.float64(1.0), "loss": math.inf}]},
        seconds={"fuse": np.float32(2.0)},
    )
    save(report, tmp_path)
    assert (
        "NaN" not in (tmp_path / "report.json").read_text() and "Infinity" not in (tmp_path / "report.json").read_text()
    )
    again = load(tmp_path)
    assert math.isnan(again.rows[0].mean) and math.isnan(again.losses["fuse"][0]["loss"])
    assert again.gap_closed["edi"]["hard"].share is None


def test_missing_damaged_and_foreign_reports_are_named(example, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"holds no report\.json"):
        load(tmp_path)
    save(example, tmp_path)
    path = tmp_path / "report.json"
    whole = path.read_text()
    path.write_text(whole[:100])
    with pytest.raises(ValueError, match="not valid JSON"):
        load(tmp_path)
    path.write_text(json.dumps(json.loads(whole) | {"schema": 99}))
    with pytest.raises(ValueError, match="schema 99, this version reads 1"):
        load(tmp_path)
    path.write_text(json.dumps({key: value for key, value in json.loads(whole).items() if key != "rows"}))
    with pytest.raises(ValueError, match="damaged report: KeyError: 'rows'"):
        load(tmp_path)
    path.write_text(whole)
    (tmp_path / "report.npz").unlink()
    with pytest.raises(ValueError, match="damaged report"):
        load(tmp_path)


def test_arrays_that_would_need_pickle_are_refused(example, tmp_path) -> None:
    save(example, tmp_path)
    arrays = {name: np.array([{}], dtype=object) for name in np.load(tmp_path / "report.npz").files}
    np.savez(tmp_path / "report.npz", **arrays, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SampleRow("s", "hard", {"sharp": np.zeros((3, 4, 4))}, {}), "s: image sharp is float64"),
        (lambda: SampleRow("s", "hard", {}, {"truth": np.zeros((3, 3, 2), bool)}), "s: occupancy truth is bool"),
        (lambda: ReportData("r", losses={"fuse": [{"loss": 1.0}]}), "record 0 of stage 'fuse' has no 'step'"),
        (lambda: ReportData("r", rows=[ResultRow("edi", "hard", "viou", 0.5, 0.6, 0.4, 1, 0)]), "is reversed"),
    ],
)
def test_wrong_data_is_refused_when_put_together(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
