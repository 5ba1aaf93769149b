"""The page stands alone; figures and texts come from whatever data there is."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from PIL import Image

from eventsam.report.curves import curve_names, data_wait, data_wait_share, loss_curves, running_mean
from eventsam.report.data import ReportData, ResultRow, Share, training_report
from eventsam.report.figures import all_figures, blur_ladder, gap_bars
from eventsam.report.html import report_html, write_report
from eventsam.report.palette import direction_of, in_order
from eventsam.report.summary import result_json, table_text


class Tags(HTMLParser):
    """Collects every tag with its attributes and checks that tags close in order."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(example) -> str:
    return report_html(example)


def test_the_page_names_no_address_outside_itself(html: str) -> None:
    parser = Tags()
    parser.feed(html)
    assert parser.open == []
    for tag, attributes in parser.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "data:").startswith("data:image/png;base64,") or name not in attributes
        assert not any(name.startswith("on") for name in attributes)
    outside = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import", outside)
    assert "default-src 'none'" in html


def test_every_picture_is_a_png_with_words_for_it(html: str) -> None:
    parser = Tags()
    parser.feed(html)
    pictures = [attributes for tag, attributes in parser.tags if tag == "img"]
    assert len(pictures) > 3 * 10
    for attributes in pictures:
        assert attributes["alt"] and int(attributes["width"]) > 0 and int(attributes["height"]) > 0
        image = Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2])))
        assert image.format == "PNG"


def test_words_from_outside_are_escaped(example, tmp_path) -> None:
    bad = "<script>alert('x')</script>"
    report = replace(
        example,
        title=bad,
        subtitle=bad,
        commands=(bad,),
        notes=(bad, f"Head: {bad}"),
        facts={bad: bad},
        hashes={bad: bad},
        seconds={bad: 1.0},
        losses={bad: example.losses["teacher"]},
        samples=[replace(example.samples[0], title=bad, blur=bad)],
        rows=[ResultRow(bad, bad, bad, 0.1, 0.0, 0.2, 3, 0)],
        gap_closed={bad: {bad: Share(0.1, 0.0, 0.2)}},
    )
    write_report(tmp_path / "new" / "report.html", report)
    assert "<script" not in (tmp_path / "new" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("empty", [{}, {"rows": ()}, {"losses": {}}, {"gap_closed": {}}, {"samples": ()}])
def test_missing_parts_are_left_out(example, empty: dict) -> None:
    text = report_html(
        replace(example, **({"samples": example.samples[:1]} | empty)) if empty else ReportData("only a title")
    )
    assert ("<h2>" not in text) == (empty == {})
    assert ("Held-out objects" in text) == (empty != {} and "samples" not in empty)


def test_report_of_one_run_shows_every_logged_number(example) -> None:
    records = example.losses["teacher"]
    report = training_report("distill", {"distill": records}, facts={"run": "abc"}, commands=["eventsam train distill"])
    text = report_html(report)
    assert "<details open><summary>Every logged number of distill" in text
    assert "How results hold up" not in text
    assert curve_names(records) == ("loss", "gradient_norm", "learning_rate", "viou")


def test_names_with_dollars_are_no_formulas() -> None:
    assert loss_curves({"$\\frac{": [{"step": 1.0, "loss": 1.0}]}).startswith(b"\x89PNG")


def test_records_without_loss_or_with_odd_values_are_drawn() -> None:
    records = [{"step": 1.0, "loss": float("nan")}, {"step": 2.0, "val/loss": 3.0}, {"step": 3.0, "loss": float("inf")}]
    assert loss_curves({"a": records, "b": []}).startswith(b"\x89PNG")
    assert data_wait({"a": records}).startswith(b"\x89PNG")


def test_data_wait_share_weighs_records_by_their_steps() -> None:
    records = [
        {"step": 10.0, "data_wait_s": 0.1, "step_s": 0.9},
        {"step": 15.0, "val/loss": 1.0},
        {"step": 40.0, "data_wait_s": 0.0, "step_s": 1.0},
    ]
    assert data_wait_share(records) == pytest.approx(1.0 / 40.0)
    assert data_wait_share([{"step": 1.0, "loss": 2.0}]) is None


def test_running_mean_keeps_length_and_constant() -> None:
    np.testing.assert_allclose(running_mean(np.full(9, 2.5), 4), 2.5)
    np.testing.assert_allclose(running_mean(np.arange(5.0), 3), [0.5, 1, 2, 3, 3.5])


def test_figures_are_repeatable_and_leave_settings_alone(example) -> None:
    before = dict(matplotlib.rcParams)
    first, second = all_figures(replace(example, samples=example.samples[:1])), blur_ladder(example.rows)
    assert first["blur_ladder"] == second
    assert set(first) == {"blur_ladder", "gap_closed", "loss_curves", "data_wait", "sample_0"}
    assert dict(matplotlib.rcParams) == before


def test_ladder_without_its_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no rows of viou, chamfer \(metrics at hand: f_score\)"):
        blur_ladder([ResultRow("edi", "hard", "f_score", 0.5, 0.4, 0.6, 3, 0)])


def test_gap_bars_survive_extreme_and_missing_shares() -> None:
    shares = {"events_blurry": {"easy": Share(-7.0, -40.0, 30.0), "hard": Share(0.4, None, None)}, "edi": {}}
    assert gap_bars(shares).startswith(b"\x89PNG")


def test_json_has_what_the_command_line_promises(example) -> None:
    result = result_json(example)
    assert {"rows", "gap_closed", "seconds", "peak_memory_bytes"} <= set(result)
    assert set(result["rows"][0]) == {"input", "blur", "metric", "mean", "low", "high", "num_objects", "seed"}
    assert set(result["gap_closed"]) == {"easy", "medium", "hard"}
    assert result["gap_closed"]["easy"] == {"share": None, "low": None, "high": None}
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result_json(ReportData("x"))["gap_closed"] == {}


def test_table_is_plain_text_with_every_cell(example) -> None:
    text = table_text(example)
    assert "\x1b" not in text and all(len(line) <= 110 for line in text.splitlines())
    row = next(row for row in example.rows if (row.input, row.blur, row.metric) == ("edi", "hard", "viou"))
    assert f"{row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]" in text
    assert "no gap" in text and "Hard blur:" in text
    assert table_text(ReportData("x")) == "\n"


def test_unknown_names_keep_their_place_and_direction() -> None:
    assert in_order(["z", "hard", "a", "easy", "z"], ("easy", "medium", "hard")) == ("easy", "hard", "z", "a")
    assert not direction_of("loss_total").higher_is_better and direction_of("accuracy").higher_is_better
