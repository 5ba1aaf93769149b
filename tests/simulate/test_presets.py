"""Sensors by name, and v2e's names for their parameters."""

import json

import pytest

from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.presets import V2E_NAMES, from_v2e, preset, to_v2e
from eventsam.simulate.settings import RenderSettings


def test_presets_are_v2e_s() -> None:
    clean, noisy, v2e = (preset(name) for name in ("clean", "noisy", "v2e"))
    assert clean == PixelModel(threshold_sigma=0.02)
    assert (noisy.threshold_sigma, noisy.cutoff_hz, noisy.leak_rate_hz) == (0.05, 30.0, 0.1)
    assert (noisy.shot_noise_rate_hz, noisy.refractory_us) == (5.0, 0)
    assert (v2e.threshold_sigma, v2e.cutoff_hz, v2e.leak_rate_hz) == (0.03, 300.0, 0.01)
    assert (v2e.shot_noise_rate_hz, v2e.refractory_us) == (0.001, 500)
    with pytest.raises(KeyError, match="did you mean 'noisy'"):
        preset("noisi")


def test_v2e_s_names_and_units() -> None:
    model = from_v2e(
        {"pos_thres": 0.3, "refractory_period": 0.0005, "scidvs": True, "cutoff_hz": None}, preset("noisy")
    )
    assert (model.on_threshold, model.refractory_us, model.scidvs, model.cutoff_hz) == (0.3, 500, True, 30.0)
    assert from_v2e({}) == preset("v2e")
    for start in ("clean", "noisy", "v2e"):
        assert from_v2e(to_v2e(preset(start)), PixelModel(on_threshold=0.9)) == preset(start)
    assert set(to_v2e(model)) == set(V2E_NAMES)
    with pytest.raises(KeyError, match="did you mean 'pos_thres'"):
        from_v2e({"pos_tres": 0.2})
    with pytest.raises(ValueError, match="thresholds"):
        from_v2e({"pos_thres": 0.0})


def test_older_catalogs_keep_their_settings_and_hash() -> None:
    plain = RenderSettings().to_json()
    first = ["on_threshold", "off_threshold", "threshold_sigma", "cutoff_hz", "leak_rate_hz"]
    assert list(plain["pixel_model"]) == [*first, "refractory_us", "timestamps", "seed"]
    assert RenderSettings.from_json(plain) == RenderSettings()
    noisy = RenderSettings(pixel_model=preset("noisy"))
    assert RenderSettings.from_json(json.loads(json.dumps(noisy.to_json()))) == noisy
    assert noisy.content_hash != RenderSettings().content_hash
