"""Event rates: every event counted once, in bounded reads, and drawn."""

import io

import numpy as np
import pytest
from events_support import random_events
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from recordings_support import HeldRecording

import eventsam.views.rates
from eventsam.views.rates import count_rates, duration_text, nice_bin_length, plot_rates, rate_text
from eventsam.views.span import shown_span


@given(st.integers(0, 1000), st.integers(1, 500), st.sampled_from([1, 40, 5000, 10**7]), st.integers(1, 10**6))
def test_every_event_is_counted_once_in_its_bin(seed: int, num_events: int, span_us: int, bin_length: int) -> None:
    recording = HeldRecording(random_events(seed, num_events, span_us=span_us))
    span = shown_span(recording)
    bin_length = max(bin_length, span.duration // 5000 + 1)
    rates = count_rates(recording, span, bin_length)
    assert rates.num_on.sum() == recording.held.p.sum()
    for p, counts in ((1, rates.num_on), (0, rates.num_off)):
        t = recording.held.t[recording.held.p == p]
        np.testing.assert_array_equal(counts, np.histogram(t, bins=rates.edges)[0])
    assert rates.edges[-1] == span.t1


def test_reading_is_bounded_and_looked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = HeldRecording(random_events(0, 20_000, span_us=10**6))
    whole = count_rates(recording, shown_span(recording), 1000)
    monkeypatch.setattr(eventsam.views.rates, "SLICE_EVENTS", 500)
    recording.largest_read, slices = 0, []

    def through(steps):
        slices.extend(steps)
        return steps

    rates = count_rates(recording, shown_span(recording), 1000, through)
    assert recording.largest_read < 1000
    assert len(slices) > 30
    np.testing.assert_array_equal(rates.num_on, whole.num_on)
    np.testing.assert_array_equal(rates.num_off, whole.num_off)


def test_the_last_bin_is_divided_by_its_own_length() -> None:
    recording = HeldRecording(random_events(0, 5000, span_us=1500))
    on, off = count_rates(recording, shown_span(recording), 1000).per_second
    assert (on + off) == pytest.approx([5000 / 1.5e-3] * 2, rel=0.1)


@given(st.integers(1, 10**14), st.integers(1, 1000))
def test_bins_are_one_two_or_five_and_enough(duration: int, num_bins: int) -> None:
    length = nice_bin_length(duration, num_bins)
    assert str(length).rstrip("0") in ("1", "2", "5")
    assert -(-duration // length) <= num_bins
    assert length == 1 or -(-duration // length) >= num_bins / 2.5 - 1


def test_few_events_get_few_bins() -> None:
    few, many = (HeldRecording(random_events(0, number, span_us=10**6)) for number in (2000, 100_000))
    assert len(count_rates(few, shown_span(few)).num_on) <= 70
    assert 150 <= len(count_rates(many, shown_span(many)).num_on) <= 400
    with pytest.raises(ValueError, match="bin_length is 0"):
        count_rates(few, shown_span(few), 0)


@pytest.mark.parametrize("num_events", [1, 300, 20_000])
def test_a_plot_is_drawn_whatever_the_rate(num_events: int) -> None:
    recording = HeldRecording(random_events(0, num_events, span_us=10**6))
    image = np.asarray(Image.open(io.BytesIO(plot_rates(count_rates(recording, shown_span(recording)), "held_1.raw"))))
    assert image.shape[0] > 400 and image.shape[1] > 1200
    assert image[..., :3].std() > 5


def test_numbers_for_people() -> None:
    assert [duration_text(seconds) for seconds in (2.5, 0.0204, 3e-6)] == ["2.5 s", "20.4 ms", "3 us"]
    assert [rate_text(*rate) for rate in ((3_000_000, 1.0), (20, 0.01), (5, 10.0))] == [
        "3 Mev/s",
        "2 kev/s",
        "0.5 ev/s",
    ]
