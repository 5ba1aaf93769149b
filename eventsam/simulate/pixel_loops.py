"""The compiled loop of the event pixel: one pass per frame interval from grey levels to events in time order.

Pixels are taken in tiles that stay in the nearest cache. Per tile: look up, low-pass, leak, then one flag per pixel
written without branches (signs of noise are coin tosses to a branch predictor), then a scan of eight flags at a time
that lists the few pixels that fire. Only those are looked at again: their events are written in raster order and go
through a counting sort over whole microseconds, so that they leave ordered by (t, y, x).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.simulate.counter_random import PIXEL, Key, fill_words
from eventsam.simulate.event_order import ordered_events
from eventsam.simulate.pixel_tiles import (
    flag_crossings,
    flag_shots,
    leak_tile,
    leak_unevenly_tile,
    look_up,
    look_up_jitter,
    low_pass_tile,
)
from eventsam.simulate.pixel_timing import RISING, SHOT_OFF, SHOT_ON, Clock, Column, Firing, Pixels, write_events

Array = NDArray[Any]

TILE = 1024
"""Pixels per tile, a multiple of 8 (flags per scan) and of 4 (random words per call)."""
HOT = 8


class Light(NamedTuple):
    """This frame and the last: tables looked up by `image` (N,) uint8, or by pixel where `image` is None."""

    image: NDArray[np.uint8] | None
    levels: Array
    shares: NDArray[np.float64]
    chances: NDArray[np.float32]
    previous_image: NDArray[np.uint8] | None
    previous_levels: Array


class Noise(NamedTuple):
    """What disturbs the pixels within this interval.

    `leak_step` is rate times interval where every pixel leaks alike; `jitter` (4096,) holds the factors of the leak's
    random part, empty for none. `hot_pixel`, `hot_offset_us`: events of hot pixels, ordered by pixel.
    """

    leak_step: np.float32
    step_s: np.float32
    jitter: NDArray[np.float32]
    nominal_on: np.float32
    nominal_off: np.float32
    hot_pixel: NDArray[np.int64]
    hot_offset_us: NDArray[np.float64]
    key: Key
    frame: np.uint64


@compiled
def _level_before(table: Array, image: NDArray[np.uint8] | None, pixel: int) -> Any:
    if image is None:
        return table[pixel]
    else:  # Only one of the two branches has types, and only that one is compiled.
        return table[image[pixel]]


@compiled
def _whole_thresholds(difference: Any, threshold: np.float32) -> int:
    """How many whole thresholds fit into a difference, exactly: products of a float32 and a small number are exact."""
    wide, unit = np.float64(difference), np.float64(threshold)
    number = int(wide / unit)
    if number * unit > wide:
        number -= 1
    elif (number + 1) * unit <= wide:
        number += 1
    return number


@compiled
def _compacted(flags: NDArray[np.uint8], listed: NDArray[np.int64]) -> int:
    """Write where flags are set; return how many. Eight at a time are passed over, or written without a branch."""
    eights = flags.view(np.uint64)
    number = 0
    for group in range(len(eights)):
        if eights[group] != 0:
            for n in range(8 * group, 8 * group + 8):
                listed[number] = n
                number += 1 if flags[n] != 0 else 0
    return number


@compiled
def _list_firing(
    flags: NDArray[np.uint8],
    start: int,
    pixels: Pixels,
    light: Light,
    signal: Array,
    before: Array,
    rested: Array,
    firing: Firing,
    place: int,
) -> int:
    """Append the flagged pixels of a tile; return the new length of the list."""
    low_passed, leaks = len(pixels.low_passed) > 0, len(pixels.leak_rate) > 0
    # Columns of a tuple are counted references: taken out once, not per pixel.
    bases, on, off = pixels.base, pixels.on, pixels.off
    previous_levels, previous_image = light.previous_levels, light.previous_image
    pixel_of, number_of, kind_of, before_of, signal_of, _, listed = firing
    for index in range(_compacted(flags, listed)):
        n = listed[index]
        pixel = start + n
        base = bases[pixel]
        earlier = before[n] if low_passed else _level_before(previous_levels, previous_image, pixel)
        # Signs are coin tosses: chosen by value, not by branch.
        difference, before_now = signal[n] - base, earlier - (rested[n] if leaks else base)
        threshold_on, threshold_off, rising = on[pixel], off[pixel], difference > 0
        threshold = threshold_on if rising else threshold_off
        pixel_of[place], signal_of[place] = pixel, signal[n]
        kind_of[place] = flags[n] | np.uint8(RISING if rising else 0)
        number_of[place] = _whole_thresholds(abs(difference), threshold)
        before_of[place] = before_now if rising else -before_now
        place += 1
    return place


@compiled
def _time_shots(
    firing: Firing,
    first: int,
    end: int,
    start: int,
    words: NDArray[np.uint32],
    chance: NDArray[np.float32],
    noise: Noise,
    on: NDArray[np.float32],
    off: NDArray[np.float32],
) -> None:
    """Give the shot noise of a tile its times: a number below its chance is, over its chance, uniform in (0, 1)."""
    pixel_of, kind_of, shot_share = firing.pixel, firing.kind, firing.shot_share
    nominal_on, nominal_off = noise.nominal_on, noise.nominal_off
    for place in range(first, end):
        kind, n = kind_of[place], pixel_of[place] - start
        if kind & SHOT_ON:
            shot_share[place] = (np.float64(np.uint32(~words[n])) + 0.5) * on[n] / (np.float64(chance[n]) * nominal_on)
        elif kind & SHOT_OFF:
            shot_share[place] = (np.float64(words[n]) + 0.5) * off[n] / (np.float64(chance[n]) * nominal_off)


@compiled
def find_firing(pixels: Pixels, light: Light, noise: Noise, firing: Firing) -> int:
    """Move every pixel through one interval and list those that fire, in raster order; return their number."""
    signals, befores = np.empty(TILE, pixels.base.dtype), np.empty(TILE, pixels.base.dtype)
    resteds, shares = np.empty(TILE, pixels.base.dtype), np.empty(TILE, np.float64)
    chances, factors = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    words, flags = np.empty(TILE, np.uint32), np.empty(TILE, np.uint8)
    leaks, uneven, shot = len(pixels.leak_rate) > 0, len(noise.jitter) > 0, len(light.chances) > 0
    place, hot = 0, 0
    for start in range(0, len(pixels.base), TILE):
        size = min(TILE, len(pixels.base) - start)
        end = start + size
        base, on, off = pixels.base[start:end], pixels.on[start:end], pixels.off[start:end]
        signal = signals[:size]
        look_up(light.levels, light.image, start, signal)
        if len(pixels.low_passed) > 0:
            look_up(light.shares, light.image, start, shares[:size])
            low_pass_tile(signal, shares[:size], pixels.low_passed[start:end], befores)
        if shot or uneven:
            fill_words(words, start // TILE, noise.frame, PIXEL, noise.key)
        if uneven:
            look_up_jitter(noise.jitter, words, factors[:size])
            leak_unevenly_tile(base, on, pixels.leak_rate[start:end], noise.step_s, factors[:size], resteds)
        elif leaks:
            leak_tile(base, on, noise.leak_step, resteds)
        if size < TILE:
            flags[:] = 0
        flag_crossings(signal, base, on, off, flags)
        if shot:
            look_up(light.chances, light.image, start, chances[:size])
            flag_shots(words, chances, on, off, noise.nominal_on, noise.nominal_off, flags[:size])
        while hot < len(noise.hot_pixel) and noise.hot_pixel[hot] < end:
            flags[noise.hot_pixel[hot] - start] |= np.uint8(HOT)
            hot += 1
        first, place = place, _list_firing(flags, start, pixels, light, signals, befores, resteds, firing, place)
        if shot:
            _time_shots(firing, first, place, start, words, chances, noise, on, off)
    return place


@compiled
def _room_for(firing: Firing, num_firing: int, num_hot: int) -> tuple[int, int]:
    """The most events that the listed pixels can send, and the most crossings of one pixel."""
    number_of, kind_of = firing.number, firing.kind
    num_events, largest = num_hot, 0
    for n in range(num_firing):
        largest = max(largest, number_of[n])
        num_events += number_of[n] + (kind_of[n] & SHOT_ON) // SHOT_ON + (kind_of[n] & SHOT_OFF) // SHOT_OFF
    return num_events, largest


@compiled
def interval_events(
    pixels: Pixels, light: Light, noise: Noise, clock: Clock, firing: Firing, column: Column, exact_times: bool
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
    """Move every pixel through one interval; return its events' x, y, t (us), p, ordered by (t, y, x).

    `column` is kept room, replaced where it is too small. The last array holds the times before rounding, in us since
    the interval's start; empty unless asked for.
    """
    num_firing = find_firing(pixels, light, noise, firing)
    num_events, largest = _room_for(firing, num_firing, len(noise.hot_pixel))
    if num_events > len(column.place):
        exact_room = np.empty(num_events if exact_times else 0, np.float64)
        column = Column(np.empty(num_events, np.uint32), np.empty(num_events, np.int64), exact_room)
    hot = noise.hot_pixel, noise.hot_offset_us
    place = write_events(pixels, firing, num_firing, hot[0], hot[1], largest, clock, column)
    where, time, exact = column
    return ordered_events(where[:place], time[:place], exact, clock.start_us, clock.whole_step)
