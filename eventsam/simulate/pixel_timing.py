"""When the pixels that fire send their events: crossing times or slots, dead time, shot noise, order (compiled)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.simulate.counter_random import SHOT_TIME, Key, unit_uniform

Array = NDArray[Any]

SHOT_ON, SHOT_OFF = 2, 4
_DIGIT = 16
"""Bits that one counting pass sorts by: enough for 65 ms at once."""
_DIGIT_MASK = (1 << _DIGIT) - 1


class Pixels(NamedTuple):
    """The memory of a sensor's pixels in raster order, (N,) each; length 0 where a part is off.

    `base` is the level of the last event, `low_passed` the low-pass, `on`, `off` the thresholds, `leak_rate` the leak
    in thresholds per second (one entry where all leak alike), `last_event` the time of the last event: us since the
    first frame, or single-precision seconds with slots.
    """

    base: Array
    low_passed: NDArray[np.float64]
    on: NDArray[np.float32]
    off: NDArray[np.float32]
    leak_rate: NDArray[np.float32]
    last_event: NDArray[np.float64]


class Firing(NamedTuple):
    """Room (N,) for the pixels that fire within an interval: signed crossings, flags, signal before (above base) and now."""

    pixel: NDArray[np.int64]
    number: NDArray[np.int64]
    kind: NDArray[np.uint8]
    before: Array
    signal: Array


class Column(NamedTuple):
    """Events as written, pixel after pixel: y << 16 | x; whole us since the interval's start, twice, plus polarity; exact us."""

    place: NDArray[np.uint32]
    time: NDArray[np.int64]
    exact: NDArray[np.float64]


class Clock(NamedTuple):
    """An interval and the rule that gives events their times.

    From `start_us`, `whole_step` whole us long; exactly it begins `lead_us` later, `origin_us` after the first frame,
    and lasts `step_us`. `start_s`, `step_s` are the same in seconds, for the reference's arithmetic.
    """

    start_us: np.int64
    whole_step: np.int64
    lead_us: float
    origin_us: float
    step_us: float
    start_s: float
    step_s: float
    refractory_us: float
    slots: bool
    width: int


@compiled
def slot_time(index: int, num_slots: int, start_s: float, step_s: float) -> np.float32:
    """The end of a slot in seconds as the reference has it: single precision, counted from the nearer end."""
    first = np.float32(start_s + step_s / num_slots)
    if num_slots == 1:
        return first
    last = np.float32(start_s + step_s)
    step = np.float32(np.float32(last - first) / np.float32(num_slots - 1))
    # One rounding of product and sum together: double holds the product of a single and a small number exactly.
    if index < num_slots // 2:
        return np.float32(np.float64(first) + np.float64(step) * index)
    return np.float32(np.float64(last) - np.float64(step) * (num_slots - index - 1))


@compiled
def _stamp(exact: float, polarity: int, clock: Clock) -> int:
    """A time within the interval as whole us, 1 to the interval's length, twice, plus polarity."""
    whole = np.rint(clock.lead_us + exact) if clock.slots else np.ceil(clock.lead_us + exact)
    return 2 * min(max(np.int64(whole), 1), clock.whole_step) + polarity


@compiled
def _time_of(exact: float, index: int, num_slots: int, clock: Clock) -> float:
    """What the dead time is measured on: us since the first frame, or the reference's single-precision seconds."""
    if clock.slots:
        return np.float64(slot_time(index, num_slots, clock.start_s, clock.step_s))
    return clock.origin_us + exact


@compiled
def _is_dead(now: float, last: float, clock: Clock) -> bool:
    if clock.slots:
        return np.float32(now - last) <= np.float32(clock.refractory_us / 1e6)
    return now - last <= clock.refractory_us


@compiled
def _write_shot(
    place: NDArray[np.uint32],
    time: NDArray[np.int64],
    exact: NDArray[np.float64],
    event: int,
    where: np.uint32,
    shot_at: float,
    kind: int,
    clock: Clock,
) -> int:
    """Write a pixel's shot noise; return the number of events. Both polarities at once exist in the reference only."""
    if kind & SHOT_ON:
        place[event], time[event], exact[event] = where, _stamp(shot_at, 1, clock), shot_at
        event += 1
    if kind & SHOT_OFF and (clock.slots or not kind & SHOT_ON):
        place[event], time[event], exact[event] = where, _stamp(shot_at, 0, clock), shot_at
        event += 1
    return event


@compiled
def _write_pixel(
    place: NDArray[np.uint32],
    time: NDArray[np.int64],
    exact: NDArray[np.float64],
    event: int,
    where: np.uint32,
    number: int,
    threshold: np.float32,
    before: Any,
    after: Any,
    kind: int,
    shot_at: float,
    last_event: NDArray[np.float64],
    dead: bool,
    num_slots: int,
    clock: Clock,
) -> tuple[int, int]:
    """Write the events of one pixel; return the number of events of all and the crossings that passed the dead time.

    `last_event` (1,) is the pixel's own; `shot_at` is the time of its shot noise, infinite for none.
    """
    polarity, sign = (1, 1.0) if number > 0 else (0, -1.0)
    # Slots follow the reference, whose shot noise knows no dead time.
    shot_dead = dead and not clock.slots
    rise = sign * (after - before)
    passed, crossings = 0, abs(number)
    for index in range(crossings + 1):
        if index == crossings:
            moment = clock.step_us
        elif clock.slots:
            moment = (index + 1) * clock.step_us / num_slots
        else:
            needed = (index + 1) * threshold - sign * before
            share = needed / rise if rise > 0 else 1.0
            moment = min(max(share, 0.0), 1.0) * clock.step_us
        if shot_at <= moment:
            if not (shot_dead and _is_dead(clock.origin_us + shot_at, last_event[0], clock)):
                event = _write_shot(place, time, exact, event, where, shot_at, kind, clock)
                if shot_dead:
                    last_event[0] = clock.origin_us + shot_at
            shot_at = np.inf
        if index == crossings:
            break
        if dead:
            now = _time_of(moment, index, num_slots, clock)
            if _is_dead(now, last_event[0], clock):
                continue
            last_event[0] = now
        place[event], time[event], exact[event] = where, _stamp(moment, polarity, clock), moment
        event += 1
        passed += 1
    return event, passed


@compiled
def write_events(
    pixels: Pixels,
    firing: Firing,
    num_firing: int,
    hot_pixel: NDArray[np.int64],
    hot_offset_us: NDArray[np.float64],
    key: Key,
    frame: np.uint64,
    num_slots: int,
    clock: Clock,
    column: Column,
) -> int:
    """Write the events of all pixels that fire, in raster order, and move their bases; return the number of events."""
    # Columns of a tuple are counted references: taken out once, not per event.
    base, on, off, last_event = pixels.base, pixels.on, pixels.off, pixels.last_event
    pixel_of, number_of, kind_of, before_of, signal_of = firing
    place, time, exact = column
    # The reference applies the dead time only where it is longer than a slot.
    dead = clock.refractory_us > 0
    if clock.slots and num_slots > 0:
        dead = dead and clock.refractory_us / 1e6 > clock.step_s / num_slots
    event, hot, row, row_end = 0, 0, 0, clock.width
    for n in range(num_firing):
        pixel, number, kind = pixel_of[n], number_of[n], kind_of[n]
        while pixel >= row_end:
            row += 1
            row_end += clock.width
        where = np.uint32(row << 16) | np.uint32(pixel - (row_end - clock.width))
        shot_at = np.inf
        if kind & (SHOT_ON | SHOT_OFF):
            share = 1.0 if clock.slots else unit_uniform(np.uint64(pixel), frame, SHOT_TIME, key)
            shot_at = share * clock.step_us
        threshold = on[pixel] if number > 0 else off[pixel]
        own = last_event[pixel : pixel + 1]
        event, passed = _write_pixel(
            place, time, exact, event, where, number, threshold, before_of[n], signal_of[n] - base[pixel],
            kind, shot_at, own, dead, num_slots, clock,
        )  # fmt: skip
        # One rounding per product and sum, in the precision of the thresholds, as the reference does.
        moved = np.float32(passed) * threshold
        base[pixel] = base[pixel] + moved if number > 0 else base[pixel] - moved
        if kind & (SHOT_ON | SHOT_OFF):
            base[pixel] = signal_of[n]
        while hot < len(hot_pixel) and hot_pixel[hot] == pixel:
            place[event], exact[event] = where, hot_offset_us[hot]
            time[event] = _stamp(hot_offset_us[hot], 1, clock)
            event, hot = event + 1, hot + 1
    return event


@compiled
def _time_order(time: NDArray[np.int64], largest: int) -> NDArray[np.int32]:
    """The stable order of whole times 1..largest: counting sorts of 16 bits at a time keep raster order inside a us."""
    num_events = len(time)
    order = np.empty(num_events, np.int32)
    for n in range(num_events):
        order[n] = n
    # One bit more: times are doubled, with the polarity below.
    shift = 1
    while shift == 1 or (largest >> (shift - 1)) > 0:
        starts = np.zeros(min(largest >> (shift - 1), _DIGIT_MASK) + 2, np.uint32)
        for n in range(num_events):
            starts[np.uint64((time[n] >> shift) & _DIGIT_MASK) + np.uint64(1)] += np.uint32(1)
        for value in range(1, len(starts)):
            starts[value] += starts[value - 1]
        sorted_order = np.empty(num_events, np.int32)
        for n in range(num_events):
            digit = np.uint64((time[order[n]] >> shift) & _DIGIT_MASK)
            sorted_order[starts[digit]] = order[n]
            starts[digit] += np.uint32(1)
        order = sorted_order
        shift += _DIGIT
    return order


@compiled
def ordered_events(
    column: Column, num_events: int, clock: Clock, exact_times: bool
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
    """Unpack the first events of `column` in the order of their whole times; see `interval_events`."""
    place, time, exact = column
    order = _time_order(time[:num_events], clock.whole_step)
    start_us = clock.start_us
    x, y = np.empty(num_events, np.uint16), np.empty(num_events, np.uint16)
    t, p = np.empty(num_events, np.int64), np.empty(num_events, np.uint8)
    exact_ordered = np.empty(num_events if exact_times else 0, np.float64)
    for n in range(num_events):
        source = order[n]
        x[n], y[n] = place[source] & 0xFFFF, place[source] >> 16
        t[n], p[n] = start_us + (time[source] >> 1), time[source] & 1
        if exact_times:
            exact_ordered[n] = exact[source]
    return x, y, t, p, exact_ordered
