"""Compiled loops work where no folder can hold their cache."""

import logging

import numba.core.caching
import numpy as np
import pytest

from eventsam.compiled import compiled


def total(values: np.ndarray) -> float:
    result = 0.0
    for i in range(values.size):
        result += values[i]
    return result


def test_no_writable_cache_is_survived_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # No place qualifies: what numba finds in a container with a read-only disk and no home.
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    with caplog.at_level(logging.INFO, logger="eventsam.compiled"):
        loop = compiled(total)
    assert loop(np.ones(4)) == 4.0
    assert "NUMBA_CACHE_DIR" in caplog.text


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr("eventsam.compiled.numba.njit", refuse)
    with pytest.raises(RuntimeError, match="something else"):
        compiled(total)
