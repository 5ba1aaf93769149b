"""Representations against libraries and the plain torch and numpy ways, on one thread.

Peers compute the same image unless a comment says what they do instead. They get int64 columns, or whatever else they
take, ready made: conversions are not timed.
"""

import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.race import Row, race, speed_row
from benchmarks.texture_stream import texture_stream
from eventsam.events import Events
from eventsam.representations import Representation
from eventsam.representations.histogram import Histogram
from eventsam.representations.polarity_histogram import PolarityHistogram
from eventsam.representations.tencode import Tencode
from eventsam.representations.time_surface import TimeSurface
from eventsam.representations.voxel_grid import VoxelGrid

SIZES = ((260, 346), (480, 640), (720, 1280))
NUM_BINS, VOXEL_BINS, COUNT_CUTOFF, TAU_MS = 10, 5, 10, 50.0
EVENTS_PER_TIMING = 1_000_000
"""Small windows are drawn so often within one timing that they come to so many events."""

Call = Callable[[], object]
Peers = Callable[[Events], dict[str, Call]]

_logger = logging.getLogger(__name__)


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows of every representation, size and number of events (quick: 1e6 in place of 1e7)."""
    torch.set_num_threads(1)
    large = 1_000_000 if quick else 10_000_000
    for height, width in SIZES[:1] if quick else SIZES:
        stream = texture_stream(large, height, width)
        for num_events in (100_000, large):
            # From the first event to the last, so that all ways to state a time axis agree.
            events = stream.slice(len(stream) - num_events, len(stream))
            yield from _rows_of(events, quick)


def _rows_of(events: Events, quick: bool) -> Iterator[Row]:
    many = len(events) > 100_000
    contests: list[tuple[str, Representation, Peers, dict[str, float]]] = [
        ("tencode", Tencode("events"), _tencode_peers, {"copyto": 1 / 3, "torch put_": 40, "eventcv": 2}),
        ("histogram 10x2", Histogram(NUM_BINS, COUNT_CUTOFF), _histogram_peers, {"evlib": 5 if many else 8}),
        ("voxel grid 5", VoxelGrid(VOXEL_BINS, reference="events"), _voxel_peers, _voxel_goals(many)),
        ("voxel grid 5 exact", VoxelGrid(VOXEL_BINS, reference="events", exact=True), _voxel_peers, {}),
        ("time surface", TimeSurface(TAU_MS, "events"), _surface_peers, {"best": 2}),
        ("polarity histogram", PolarityHistogram(), _polarity_peers, {"best": 2}),
    ]
    for name, representation, peers, goals in contests:
        yield from _contest(name, representation, events, peers(events), goals, quick)


def _voxel_goals(many: bool) -> dict[str, float]:
    return {"event_voxel_builder": 4} | ({"numpy bincount": 4} if many else {})


def _contest(
    name: str,
    representation: Representation,
    events: Events,
    peers: dict[str, Call],
    goals: dict[str, float],
    quick: bool,
) -> Iterator[Row]:
    t0, t1 = int(events.t[0]), int(events.t[-1]) + 1
    repeats = max(1, EVENTS_PER_TIMING // len(events))
    times = race({"ours": lambda: representation(events, t0, t1), **peers}, rounds=3 if quick else 7, repeats=repeats)
    label = f"{name} {events.width}x{events.height} {len(events):.0e}".replace("e+0", "e")
    ours = times.pop("ours")
    for peer, seconds in times.items():
        yield speed_row(f"{label} / {peer}", ours, seconds, goals.get(peer), len(events))
    if "best" in goals and times:
        best = min(times, key=times.__getitem__)
        yield speed_row(f"{label} / best ({best})", ours, times[best], goals["best"], len(events))


def _optional(name: str) -> Any | None:
    try:
        return import_module(name)
    except ImportError:
        _logger.info("skipped: %s is not installed", name)
        return None


def _columns(events: Events) -> list[NDArray[np.int64]]:
    return [getattr(events, name).astype(np.int64) for name in "xytp"]


def _eventcv_stream(eventcv: Any, events: Events) -> Any:
    return eventcv.from_numpy(
        np.stack(_columns(events), axis=1), sensor_size=(events.width, events.height), time_unit="us"
    )


def _tencode_peers(events: Events) -> dict[str, Call]:
    sources = events.x, events.y, events.p
    targets = [np.empty_like(source) for source in sources]

    def copyto() -> None:
        for target, source in zip(targets, sources, strict=True):
            np.copyto(target, source)

    x, y, t, p = (torch.from_numpy(column) for column in _columns(events))
    height, width = events.height, events.width

    def put() -> torch.Tensor:
        # The released code's way: out-of-range events dropped, three planes, the last write wins (in one thread only).
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        pixels, on = (x + y * width)[inside], p.clamp(min=0)[inside]
        share = ((t - t[0]) / (t[-1] - t[0]))[inside]
        image = torch.zeros(3, height * width)
        for plane, values in zip(image, (255.0 * on, 255.0 * (1 - share), 255.0 * (1 - on)), strict=True):
            plane.put_(pixels, values)
        return image.view(3, height, width)

    peers: dict[str, Call] = {"copyto": copyto, "torch put_": put}
    if (eventcv := _optional("eventcv")) is not None:
        # Another scale of green, and at many events other winners.
        stream = _eventcv_stream(eventcv, events)
        peers["eventcv"] = lambda: stream.tencode().numpy()
    return peers


def _histogram_peers(events: Events) -> dict[str, Call]:
    x, y, t, p = _columns(events)
    height, width = events.height, events.width

    def bincount() -> NDArray[np.uint8]:
        bins = np.minimum((np.float32(t - t[0]) / np.float32(t[-1] - t[0]) * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        place = ((p * NUM_BINS + bins) * height + y) * width + x
        counts = np.bincount(place, minlength=2 * NUM_BINS * height * width)
        return np.minimum(counts, COUNT_CUTOFF).astype(np.uint8)

    peers: dict[str, Call] = {"numpy bincount": bincount}
    if (evlib := _optional("evlib")) is not None:
        build = evlib.representations_rs.stacked_histogram_dense
        end, length = np.array([t[-1]]), int(t[-1] - t[0])
        maps = np.arange(height), np.arange(width)
        peers["evlib"] = lambda: build(t, x, y, p, end, length, NUM_BINS, COUNT_CUTOFF, *maps, height, width)
    return peers


def _voxel_peers(events: Events) -> dict[str, Call]:
    x, y, t, p = _columns(events)
    plane = events.height * events.width

    def bincount() -> NDArray[np.float32]:
        place = (VOXEL_BINS - 1) * (t - t[0]) / (t[-1] - t[0])
        bins = place.astype(np.int64)
        share, sign = place - bins, 2.0 * p - 1
        pixels = y * events.width + x
        near = np.bincount(bins * plane + pixels, sign * (1 - share), (VOXEL_BINS + 1) * plane)
        far = np.bincount((bins + 1) * plane + pixels, sign * share, (VOXEL_BINS + 1) * plane)
        return (near + far)[: VOXEL_BINS * plane].astype(np.float32)

    peers: dict[str, Call] = {"numpy bincount": bincount}
    if (package := _optional("event_voxel_builder")) is not None:
        # Whole events into one bin each, int32: less work than two shares per event.
        length = int(t[-1] - t[0]) // VOXEL_BINS + 1
        builder = package.EventVoxelBuilder(VOXEL_BINS, events.height, events.width, length, num_threads=1)
        columns = (t - t[0]).astype(np.uint64), events.y, events.x, (2 * p - 1).astype(np.int8)
        peers["event_voxel_builder"] = lambda: builder.build(*columns)
    if (eventcv := _optional("eventcv")) is not None:
        # Hard bins too.
        stream = _eventcv_stream(eventcv, events)
        peers["eventcv"] = lambda: stream.voxel(bins=VOXEL_BINS).numpy()
    return peers


def _surface_peers(events: Events) -> dict[str, Call]:
    x, y, t, p = _columns(events)

    def fancy() -> NDArray[np.float32]:
        last = np.full((2, events.height, events.width), -np.inf, np.float32)
        last[p, y, x] = t - t[-1]
        return np.exp(last * np.float32(1 / (TAU_MS * 1000)))

    peers: dict[str, Call] = {"numpy fancy": fancy}
    if (eventcv := _optional("eventcv")) is not None:
        stream = _eventcv_stream(eventcv, events)
        peers["eventcv"] = lambda: stream.tsurf(tau_ms=TAU_MS).numpy()
    if (tonic := _optional("tonic")) is not None:
        table = np.empty(len(events), [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])
        for name in "xytp":
            table[name] = getattr(events, name)
        table["t"] -= table["t"][0]
        sensor, length = (events.width, events.height, 2), int(table["t"][-1])
        to_surface = tonic.functional.to_timesurface_numpy
        peers["tonic"] = lambda: to_surface(table, sensor, dt=length, tau=TAU_MS * 1000)
    return peers


def _polarity_peers(events: Events) -> dict[str, Call]:
    x, y, _, p = _columns(events)
    tensors = [torch.from_numpy(column) for column in (x, y, p)]
    height, width = events.height, events.width

    def bincount() -> NDArray[np.uint8]:
        counts = np.bincount((p * height + y) * width + x, minlength=2 * height * width)
        return np.minimum(counts, 200).astype(np.uint8)

    def torch_bincount() -> torch.Tensor:
        columns, lines, signs = tensors
        counts = torch.bincount((signs * height + lines) * width + columns, minlength=2 * height * width)
        return counts.clamp_(max=200).to(torch.uint8)

    return {"numpy bincount": bincount, "torch bincount": torch_bincount}
