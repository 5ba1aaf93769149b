"""When the pixels that fire send their events: crossing times or slots, dead time, shot noise, order (compiled)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

Array = NDArray[Any]

SHOT_ON, SHOT_OFF, RISING = 2, 4, 16


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
    """Room (N,) for the pixels that fire within an interval, in raster order.

    `number` thresholds were crossed, upwards where the flags `kind` say rising; `signal` is the signal now, `before`
    what it was above the base at the interval's start, counted in the direction of the crossing. `shot_share` is when
    in the interval shot noise falls, 0 to 1. `listed` has room for the flagged pixels of a tile.
    """

    pixel: NDArray[np.int32]
    number: NDArray[np.int32]
    kind: NDArray[np.uint8]
    before: Array
    signal: Array
    shot_share: NDArray[np.float64]
    listed: NDArray[np.int64]


class Column(NamedTuple):
    """Room for events as they are written, pixel after pixel: see `event_order.ordered_events`."""

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
def _write(
    place: NDArray[np.uint32],
    time: NDArray[np.int64],
    exact: NDArray[np.float64],
    event: int,
    where: np.uint32,
    moment: float,
    polarity: int,
    clock: Clock,
) -> None:
    """Write an event; its whole us lie between 1 and the interval's length. `exact` may be empty."""
    late = clock.lead_us + moment
    whole = np.int64(np.rint(late)) if clock.slots else np.int64(np.ceil(late))
    inside = np.int64(min(max(int(whole), 1), int(clock.whole_step)))
    place[event], time[event] = where, 2 * inside + polarity
    if len(exact) > 0:
        exact[event] = moment


@compiled
def _time_of(exact: float, index: int, num_slots: int, clock: Clock) -> float:
    """What the dead time is measured on: us since the first frame, or the reference's single-precision seconds."""
    if clock.slots:
        return np.float64(slot_time(index, num_slots, clock.start_s, clock.step_s))
    return clock.origin_us + exact


@compiled
def _is_dead(now: float, last: float, clock: Clock) -> bool:
    if clock.slots:
        return bool(np.float32(now - last) <= np.float32(clock.refractory_us / 1e6))
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
        _write(place, time, exact, event, where, shot_at, 1, clock)
        event += 1
    if kind & SHOT_OFF and (clock.slots or not kind & SHOT_ON):
        _write(place, time, exact, event, where, shot_at, 0, clock)
        event += 1
    return event


@compiled
def _moment(index: int, threshold: np.float32, before: Any, rise: Any, num_slots: int, clock: Clock) -> float:
    """Exact us from the interval's start to a pixel's event number `index`: its slot, or its crossing."""
    if clock.slots:
        return (index + 1) * clock.step_us / num_slots
    needed = (index + 1) * threshold - before
    share = needed / rise if rise > 0 else 1.0
    return min(max(share, 0.0), 1.0) * clock.step_us


@compiled
def _write_with_care(
    place: NDArray[np.uint32],
    time: NDArray[np.int64],
    exact: NDArray[np.float64],
    event: int,
    where: np.uint32,
    crossings: tuple[int, int, np.float32, Any, Any],
    kind: int,
    shot_at: float,
    last_event: NDArray[np.float64],
    pixel: int,
    num_slots: int,
    clock: Clock,
) -> tuple[int, int]:
    """Write the events of a pixel with a dead time; return the events of all and this pixel's crossings that passed.

    `crossings` are number, polarity, threshold, signal before and rise; `shot_at` is infinite where there is no noise.
    """
    number, polarity, threshold, before, rise = crossings
    # Slots follow the reference, whose shot noise knows no dead time.
    shot_dead = not clock.slots
    passed = 0
    for index in range(number + 1):
        moment = clock.step_us if index == number else _moment(index, threshold, before, rise, num_slots, clock)
        if shot_at <= moment:
            if not (shot_dead and _is_dead(clock.origin_us + shot_at, last_event[pixel], clock)):
                event = _write_shot(place, time, exact, event, where, shot_at, kind, clock)
                if shot_dead:
                    last_event[pixel] = clock.origin_us + shot_at
            shot_at = np.inf
        if index == number:
            break
        now = _time_of(moment, index, num_slots, clock)
        if _is_dead(now, last_event[pixel], clock):
            continue
        last_event[pixel] = now
        _write(place, time, exact, event, where, moment, polarity, clock)
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
    num_slots: int,
    clock: Clock,
    column: Column,
) -> int:
    """Write the events of all pixels that fire, in raster order, and move their bases; return the number of events."""
    # Columns of a tuple are counted references: taken out once, not per event.
    base, on, off, last_event = pixels.base, pixels.on, pixels.off, pixels.last_event
    pixel_of, number_of, kind_of, before_of, signal_of, shot_share_of, _ = firing
    place, time, exact = column
    # The reference applies the dead time only where it is longer than a slot.
    dead = clock.refractory_us > 0
    if clock.slots and num_slots > 0:
        dead = dead and clock.refractory_us / 1e6 > clock.step_s / num_slots
    event, hot, row, row_end = 0, 0, 0, clock.width
    for n in range(num_firing):
        pixel, number, kind, before = int(pixel_of[n]), int(number_of[n]), int(kind_of[n]), before_of[n]
        polarity = 1 if kind & RISING else 0
        while pixel >= row_end:
            row, row_end = row + 1, row_end + clock.width
        where = np.uint32(row << 16) | np.uint32(pixel - (row_end - clock.width))
        threshold_on, threshold_off, signal = on[pixel], off[pixel], signal_of[n]
        after = signal - base[pixel]
        threshold, rise = (threshold_on, after - before) if polarity else (threshold_off, -after - before)
        shot, passed = (kind & (SHOT_ON | SHOT_OFF)) > 0, number
        shot_at = np.inf
        if shot:
            shot_at = clock.step_us if clock.slots else shot_share_of[n] * clock.step_us
        if dead:
            event, passed = _write_with_care(
                place, time, exact, event, where, (number, polarity, threshold, before, rise), kind,
                shot_at, last_event, pixel, num_slots, clock,
            )  # fmt: skip
        else:
            for index in range(number):
                moment = _moment(index, threshold, before, rise, num_slots, clock)
                _write(place, time, exact, event, where, moment, polarity, clock)
                event += 1
            if shot:
                event = _write_shot(place, time, exact, event, where, shot_at, kind, clock)
        # One rounding per product and sum, in the precision of the thresholds, as the reference does.
        moved = np.float32(passed) * threshold
        moved = moved if polarity else -moved
        base[pixel] = signal if shot else base[pixel] + moved
        while hot < len(hot_pixel) and hot_pixel[hot] == pixel:
            _write(place, time, exact, event, where, hot_offset_us[hot], 1, clock)
            event, hot = event + 1, hot + 1
    return event
