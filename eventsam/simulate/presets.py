"""Sensors by name, and v2e's parameter names for them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from eventsam.simulate.pixel_model import PixelModel
from eventsam.unknown_name import unknown_name

PRESETS: Mapping[str, PixelModel] = {
    "clean": PixelModel(threshold_sigma=0.02),
    "noisy": PixelModel(
        threshold_sigma=0.05,
        cutoff_hz=30.0,
        leak_rate_hz=0.1,
        shot_noise_rate_hz=5.0,
        leak_jitter_fraction=0.1,
        noise_rate_cov_decades=0.1,
    ),
    "v2e": PixelModel(
        threshold_sigma=0.03,
        cutoff_hz=300.0,
        leak_rate_hz=0.01,
        shot_noise_rate_hz=0.001,
        refractory_us=500,
        leak_jitter_fraction=0.1,
        noise_rate_cov_decades=0.1,
    ),
}
"""v2e's `--dvs_params clean` and `noisy`, and the defaults of its command line; all with interpolated times."""


def _same(value: Any) -> Any:
    return value


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


V2E_NAMES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "pos_thres": ("on_threshold", _same),
    "neg_thres": ("off_threshold", _same),
    "sigma_thres": ("threshold_sigma", _same),
    "cutoff_hz": ("cutoff_hz", _same),
    "leak_rate_hz": ("leak_rate_hz", _same),
    "shot_noise_rate_hz": ("shot_noise_rate_hz", _same),
    "refractory_period": ("refractory_us", _microseconds),
    "photoreceptor_noise": ("photoreceptor_noise", bool),
    "leak_jitter_fraction": ("leak_jitter_fraction", _same),
    "noise_rate_cov_decades": ("noise_rate_cov_decades", _same),
    "cs_lambda_pixels": ("cs_lambda_pixels", _same),
    "cs_tau_p_ms": ("cs_tau_p_ms", _same),
    "scidvs": ("scidvs", bool),
    "dvs_emulator_seed": ("seed", int),
}
"""v2e's name of a parameter, our field and the change of unit (`refractory_period` is in seconds)."""


def preset(name: str) -> PixelModel:
    """Return a sensor by name; raise KeyError naming the nearest for an unknown one."""
    if name not in PRESETS:
        raise KeyError(unknown_name("sensor preset", name, PRESETS))
    return PRESETS[name]


def from_v2e(parameters: Mapping[str, Any], start: PixelModel | None = None) -> PixelModel:
    """Change `start` (default: v2e's own defaults) by parameters under v2e's names; None leaves a parameter alone.

    Raises KeyError for an unknown name, ValueError for an impossible sensor.
    """
    changes = {}
    for name, value in parameters.items():
        if name not in V2E_NAMES:
            raise KeyError(unknown_name("parameter of v2e", name, V2E_NAMES))
        field, convert = V2E_NAMES[name]
        if value is not None:
            changes[field] = convert(value)
    return dataclasses.replace(start or PRESETS["v2e"], **changes)


def to_v2e(model: PixelModel) -> dict[str, Any]:
    """The sensor under v2e's names and units, for the record beside its events."""
    values = {name: getattr(model, field) for name, (field, _) in V2E_NAMES.items()}
    return values | {"refractory_period": model.refractory_us / 1e6}
