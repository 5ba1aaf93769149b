"""Working memory of the kernels: one buffer of zeros per thread and slot, used again instead of made anew."""

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class _Buffers(threading.local):
    """Each thread sees its own: kernels of different threads never meet."""

    def __init__(self) -> None:
        self.slots: dict[int, NDArray[np.int64]] = {}


_buffers = _Buffers()


def borrow_zeros(size: int, dtype: DTypeLike, slot: int = 0) -> NDArray[Any]:
    """Return `size` zeros of a dtype, from this thread's buffer number `slot`.

    The borrower is one compiled kernel call, which leaves the buffer zero again as it reads its sums out: clearing
    memory that is in cache anyway costs next to nothing, where a fresh array of the sensor's size costs page faults. A
    buffer grows to the largest window its thread has drawn and stays (two bytes per pixel for Tencode).
    """
    dtype = np.dtype(dtype)
    num_words = -(-size * dtype.itemsize // 8)
    buffer = _buffers.slots.get(slot)
    if buffer is None or buffer.size < num_words:
        buffer = _buffers.slots[slot] = np.zeros(num_words, np.int64)
    zeros: NDArray[Any] = buffer.view(dtype)[:size]
    return zeros
