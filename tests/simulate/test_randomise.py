"""Sensors drawn from ranges: inside them, reproducible, and with a record."""

import json
from pathlib import Path

import pytest

from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.presets import preset
from eventsam.simulate.randomise import Range, draw_sensor, read_ranges


def test_draws_lie_in_their_ranges_and_are_recorded() -> None:
    ranges = {"pos_thres": Range(0.1, 0.4), "cutoff_hz": Range(10, 300, "log"), "refractory_us": Range(1, 9)}
    logs = []
    for seed in range(200):
        drawn = draw_sensor(ranges, preset("clean"), seed)
        assert 0.1 <= drawn.model.on_threshold <= 0.4 and 10 <= drawn.model.cutoff_hz <= 300
        assert isinstance(drawn.model.refractory_us, int) and drawn.model.off_threshold == 0.2
        assert drawn.record["drawn"]["pos_thres"] == drawn.model.on_threshold
        logs.append(drawn.model.cutoff_hz)
    assert 0.35 < sum(value < 54.8 for value in logs) / 200 < 0.65  # the middle of the log range
    again = draw_sensor(ranges, preset("clean"), 7)
    assert again == draw_sensor(ranges, preset("clean"), 7) and json.loads(json.dumps(again.record)) == again.record


def test_another_range_leaves_the_others_values() -> None:
    one = draw_sensor({"pos_thres": Range(0.1, 0.4)}, PixelModel(), 3).model
    two = draw_sensor({"leak_rate_hz": Range(0, 1), "on_threshold": Range(0.1, 0.4)}, PixelModel(), 3).model
    assert one.on_threshold == two.on_threshold


def test_ranges_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text('{"neg_thres": [0.1, 0.2], "cutoff_hz": [10, 100, "log"]}')
    assert read_ranges(path) == {"neg_thres": Range(0.1, 0.2), "cutoff_hz": Range(10, 100, "log")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected an object"),
        ("{", "not a readable JSON"),
        ('{"pos_thres": 0.2}', "pos_thres is 0.2"),
        ('{"pos_thres": [0.3, 0.1]}', "empty"),
        ('{"pos_thres": [0.1, 0.3, "square"]}', "linear, log"),
        ('{"cutoff_hz": [0, 3, "log"]}', "above 0"),
        ('{"cutof_hz": [1, 3]}', "did you mean 'cutoff_hz'"),
        ('{"timestamps": [1, 3]}', "unknown sensor parameter"),
        ('{"pos_thres": [0.1, 0.3], "on_threshold": [0.1, 0.3]}', "same parameter"),
    ],
)
def test_bad_ranges_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_ranges(path)
    assert "ranges.json" in str(error.value)


def test_an_impossible_sensor_is_refused() -> None:
    with pytest.raises(ValueError, match="thresholds"):
        draw_sensor({"pos_thres": Range(0.0, 0.001)}, PixelModel(), 0)
