"""Render settings: round trip, hash, targets, splits and refusals."""

import dataclasses
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.trajectory import TrajectoryRanges


def test_settings_survive_json() -> None:
    settings = RenderSettings(
        seed=7,
        blur_levels=("hard",),
        trajectory=TrajectoryRanges(radius=(2, 3)),
        pixel_model=PixelModel(on_threshold=0.3),
    )
    again = RenderSettings.from_json(json.loads(json.dumps(settings.to_json())))
    assert again == settings and again.content_hash == settings.content_hash


def test_every_setting_changes_the_hash() -> None:
    base = RenderSettings()
    others = [
        dataclasses.replace(base, seed=1),
        dataclasses.replace(base, width=65),
        dataclasses.replace(base, trajectory=TrajectoryRanges(fill=(0.5, 0.6))),
        dataclasses.replace(base, pixel_model=PixelModel(leak_rate_hz=0.1)),
    ]
    assert len({settings.content_hash for settings in [base, *others]}) == 5


@given(st.integers(50, 200), st.integers(1, 8), st.integers(0, 30))
def test_targets_leave_room_for_exposures(num_frames: int, num_samples: int, margin: int) -> None:
    try:
        settings = RenderSettings(num_frames=num_frames, samples_per_trajectory=num_samples, margin_frames=margin)
    except ValueError as error:
        assert "targets" in str(error)
        return
    targets = settings.target_frames()
    assert len(set(targets)) == num_samples and targets == sorted(targets)
    assert targets[0] >= max(20, margin) and targets[-1] <= num_frames - 1 - max(20, margin)


@pytest.mark.parametrize("count", [10, 13, 100, 350])
def test_splits_keep_their_shares_and_stay_when_objects_are_added(count: int) -> None:
    settings = RenderSettings(split_fractions=(0.8, 0.1, 0.1))
    counts = Counter(settings.split_of(index) for index in range(count))
    assert abs(counts["train"] / count - 0.8) < 0.12 and min(counts["val"], counts["test"]) >= 1
    everything = RenderSettings(split_fractions=(0.0, 1.0, 0.0))
    assert {everything.split_of(index) for index in range(count)} == {"val"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"background": "grey"}, "grey"),
        ({"background": "photo"}, "background_folder"),
        ({"background_folder": "x"}, "background_folder"),
        ({"blur_levels": ("hardest",)}, "hardest"),
        ({"blur_levels": ()}, "at least one"),
        ({"split_fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"num_frames": 40}, "40 frames"),
        ({"height": 0}, "height"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RenderSettings(**change)  # type: ignore[arg-type]


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(ValueError, match="colour_of_sky"):
        RenderSettings.from_json({**RenderSettings().to_json(), "colour_of_sky": 1})
