"""EventBatch: what it holds, and what it refuses."""

import numpy as np
import pytest
import torch

from eventsam.events import Events
from eventsam.representations.gpu import batch as batch_module
from eventsam.representations.gpu.batch import EventBatch

HEIGHT, WIDTH = 5, 7


def make(times: list[int], height: int = HEIGHT, width: int = WIDTH) -> Events:
    number = np.arange(len(times))
    return Events.from_arrays(number % width, number % height, times, number % 2, height=height, width=width)


def test_columns_and_bounds() -> None:
    events = make([10, 20, 20, 45, 90])
    batch = EventBatch.pack([(events, 15, 50), (events, 200, 300), (events, 0, 91)], num_threads=2)
    assert len(batch) == 3 and batch.device.type == "cpu"
    assert batch.offsets.tolist() == batch.bounds.offsets.tolist() == [0, 3, 3, 8]
    assert batch.dt.tolist() == [5, 5, 30, 10, 20, 20, 45, 90]
    assert batch.p.tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    assert (batch.xy & 0xFFFF).tolist() == [1, 2, 3, 0, 1, 2, 3, 4]
    assert (batch.xy >> 16).tolist() == [1, 2, 3, 0, 1, 2, 3, 4]
    assert batch.bounds.t0.tolist() == [15, 200, 0] and batch.bounds.t1.tolist() == [50, 300, 91]
    assert batch.bounds.first.tolist() == [20, 200, 10] and batch.bounds.last.tolist() == [45, 200, 90]
    assert [column.dtype for column in (batch.xy, batch.p, batch.dt)] == [torch.int32, torch.uint8, torch.int32]
    assert batch.nbytes == 9 * 8 + 4 * 8
    assert repr(batch) == "EventBatch(3 windows, 8 events, height=5, width=7, device='cpu')"


def test_large_coordinates_and_times_keep_their_bits() -> None:
    events = Events.from_arrays([65535], [65535], [(1 << 31) - 1 - 7], [1], height=65536, width=65536)
    batch = EventBatch.pack([(events, -7, (1 << 31) - 7)])
    assert batch.xy.numpy().view(np.uint32).tolist() == [0xFFFFFFFF]
    assert batch.dt.tolist() == [(1 << 31) - 1]


def test_narrow_is_the_batch_of_those_windows() -> None:
    events = make([10, 20, 20, 45, 90])
    windows = [(events, 15, 50), (events, 200, 300), (events, 0, 91), (events, 40, 60)]
    part, alone = EventBatch.pack(windows).narrow(1, 3), EventBatch.pack(windows[1:3])
    for name in ("xy", "p", "dt", "offsets"):
        assert getattr(part, name).tolist() == getattr(alone, name).tolist()
    for name in ("offsets", "t0", "t1", "first", "last"):
        assert getattr(part.bounds, name).tolist() == getattr(alone.bounds, name).tolist()
    with pytest.raises(ValueError, match="windows 3 to 5 are not a part of 4"):
        EventBatch.pack(windows).narrow(3, 5)


def test_to_a_device_moves_every_column() -> None:
    batch = EventBatch.pack([(make([1, 2]), 0, 5)])
    moved = batch.to("meta", non_blocking=True)
    assert {moved.xy.device.type, moved.p.device.type, moved.dt.device.type, moved.offsets.device.type} == {"meta"}
    assert moved.bounds is batch.bounds and batch.device.type == "cpu"


def test_impossible_batches_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    events = make([1, 2, 3])
    with pytest.raises(ValueError, match="at least one window"):
        EventBatch.pack([])
    with pytest.raises(ValueError, match="window 1 is of a sensor 5x9, window 0 of 5x7"):
        EventBatch.pack([(events, 0, 5), (make([1], width=9), 0, 5)])
    with pytest.raises(ValueError, match=r"window 0: window ends before it starts: \[5, 0\)"):
        EventBatch.pack([(events, 5, 0)])
    with pytest.raises(ValueError, match=f"window 1 is .* {(1 << 31) + 1} us long; allowed: up to {1 << 31} us"):
        EventBatch.pack([(events, 0, 5), (events, -1, 1 << 31)])
    monkeypatch.setattr(batch_module, "MAX_WINDOW_EVENTS", 2)
    with pytest.raises(ValueError, match="window 0 holds 3 events; allowed: up to 2"):
        EventBatch.pack([(events, 0, 5)])
