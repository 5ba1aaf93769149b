"""HDF5 files opened for reading: one handle per process behind a lock, every fault a RecordingError naming the dataset.

What a file declares is checked against what it stores before anything is read: a dataset whose chunks were never
written, or whose chunks are larger than the file can explain, is refused instead of allocated.
"""

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from eventsam.io.hdf5_damage import check_chunks, check_filters, check_heaps, check_storage
from eventsam.io.recording import RecordingError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FAULTS = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)
"""What h5py raises for damaged files."""
MAX_MEMBERS = 512
"""Groups with more members (one image each, say) are not searched for events."""
MAX_READ_BYTES = 256 << 20
"""As much is read at once from any file, and more only from a file of at least a tenth of that."""

_NUMBERS, _TEXTS = (h5py.h5t.INTEGER, h5py.h5t.FLOAT), (h5py.h5t.STRING,)

_reading = threading.Lock()
"""HDF5 is one library state per process; its calls take turns anyway."""


def _renew_lock() -> None:
    global _reading
    _reading = threading.Lock()


# A fork while another thread reads would leave the child a lock that nobody returns.
os.register_at_fork(after_in_child=_renew_lock)


def is_hdf5(start: bytes) -> bool:
    """Return whether a file that starts so is HDF5: the signature may follow a user block of 512 bytes or more."""
    return any(start[at : at + len(SIGNATURE)] == SIGNATURE for at in (0, 512, 1024, 2048))


class Hdf5File:
    """A file of which each process opens its own handle, when it first reads; it cannot be pickled."""

    def __init__(self, path: Path) -> None:
        """Remember the path."""
        self.path = path
        self._handle: tuple[int, h5py.File] | None = None

    def __reduce__(self) -> str:
        """Refuse: a handle means nothing in another process."""
        raise TypeError(f"{self.path}: an open HDF5 file cannot be pickled; open it where it is read")

    @contextmanager
    def reading(self, what: str) -> Iterator[h5py.File]:
        """Lend the handle, alone; what h5py raises meanwhile becomes a RecordingError about `what`."""
        with _reading:
            try:
                yield self._open()
            except RecordingError:
                raise
            except FAULTS as error:
                text = str(error).strip("'\"") or type(error).__name__
                raise RecordingError(f"{self.path}: {what} cannot be read: {text}") from error

    def _open(self) -> h5py.File:
        # A handle from before a fork is left alone: closing it here would disturb the parent's.
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = os.getpid(), h5py.File(self.path, "r", locking=False)
        return self._handle[1]

    def array(self, name: str) -> "Hdf5Array":
        """Return a dataset to be read by rows; raise RecordingError where it cannot be read or is not all there."""
        with self.reading(name) as file:
            dataset = file[name]
            if not isinstance(dataset, h5py.Dataset):
                raise RecordingError(f"{self.path}: {name} is a group, expected a dataset")
            fields = (dataset.dtype.fields or {"": (dataset.dtype,)}).values()
            if any(field[0].kind not in "iufb" for field in fields):
                raise RecordingError(f"{self.path}: {name} holds {dataset.dtype}, expected numbers")
            check_filters(self.path, name, dataset)
            check_storage(self.path, name, dataset)
            return Hdf5Array(self, name, dataset)

    def number(self, name: str) -> int | None:
        """Return a dataset, or an attribute `group@name`, of one whole number; None where it is absent."""
        with self.reading(name) as file:
            value = _one_value(file, name, _NUMBERS)
            if value is None:
                return None
            if value.size != 1 or value.dtype.kind not in "iuf" or value.ravel()[0] != int(value.ravel()[0]):
                raise RecordingError(f"{self.path}: {name} is {value!r:.100}, expected one whole number")
            return int(value.ravel()[0])

    def text(self, name: str) -> str | None:
        """Return an attribute `group@name` of text; None where it is absent."""
        with self.reading(name) as file:
            value = _one_value(file, name, _TEXTS)
            if value is None or value.size != 1 or value.dtype.kind not in "OSU":
                return None
            item = value.ravel()[0]
            return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


class Hdf5Array:
    """A dataset whose first axis (of a vector: its only long one) are rows; a part of them is read at a time."""

    def __init__(self, file: Hdf5File, name: str, dataset: h5py.Dataset) -> None:
        """Note the dataset's shape."""
        self.file, self.name = file, name
        self.shape = tuple(int(side) for side in dataset.shape)
        self.dtype: np.dtype[Any] = dataset.dtype
        # MATLAB's vectors have two axes, one of length 1.
        self._across = len(self.shape) == 2 and self.shape[0] == 1 and self.shape[1] != 4
        self.is_vector = len(self.shape) == 1 or (len(self.shape) == 2 and 1 in self.shape and self.shape[1] != 4)
        self.num_rows = self.shape[1] if self._across else self.shape[0]
        self._row_bytes = math.prod(self.shape) // max(1, self.num_rows) * self.dtype.itemsize
        self.chunk_rows: int | None = dataset.chunks[1 if self._across else 0] if dataset.chunks else None

    def __len__(self) -> int:
        """Number of rows."""
        return self.num_rows

    def read(self, first: int, end: int) -> NDArray[Any]:
        """Return rows `first` up to `end`; of a vector (end - first,)."""
        with self.file.reading(f"{self.name}, rows {first} to {end - 1},") as file:
            dataset = file[self.name]
            num_bytes = (end - first) * self._row_bytes
            if num_bytes > max(MAX_READ_BYTES, 10 * self.file.path.stat().st_size):
                raise RecordingError(f"{self.file.path}: {self.name} declares {num_bytes} bytes for {end - first} rows")
            check_chunks(self.file.path, self.name, dataset, first, end)
            rows: NDArray[Any] = dataset[0, first:end] if self._across else dataset[first:end]
            if len(rows) != end - first:
                raise RecordingError(f"{self.file.path}: {self.name} ends before row {end}")
            return rows.reshape(-1) if self.is_vector else rows


def dataset_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every dataset up to four names deep (`davis/left/events`); empty for a faulty file."""
    status = path.stat()
    return _dataset_shapes(path.resolve(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _dataset_shapes(path: Path, mtime_ns: int, size: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    try:
        with _reading, h5py.File(path, "r", locking=False) as file:
            _collect(file, "", 4, found)
    except FAULTS:
        return {}
    return found


def _collect(group: h5py.Group, prefix: str, depth: int, found: dict[str, tuple[int, ...]]) -> None:
    if len(group) > MAX_MEMBERS or len(found) > MAX_MEMBERS * 8:
        return
    for name in group:
        # Other files are not followed: a recording is one file.
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            continue
        try:
            member = group[name]
            if isinstance(member, h5py.Dataset) and member.shape is not None:
                found[prefix + name] = tuple(member.shape)
            elif isinstance(member, h5py.Group) and depth > 1:
                _collect(member, f"{prefix}{name}/", depth - 1, found)
        except FAULTS:
            continue


def _one_value(file: h5py.File, name: str, kinds: tuple[int, ...]) -> NDArray[Any] | None:
    """Return an attribute (`place@name`) or a dataset of one value, None where there is none; refuse other types.

    HDF5 2.0 crashes in sequences of variable length, so the type is looked at first.
    """
    place, _, attribute = name.partition("@")
    holder = file[place] if place and attribute else file
    is_there = attribute in holder.attrs if attribute else name in file and isinstance(file[name], h5py.Dataset)
    if not is_there:
        return None
    value = holder.attrs.get_id(attribute) if attribute else file[name].id
    kind = value.get_type()
    if math.prod(value.shape or (1,)) != 1 or kind.get_class() not in kinds:
        return None
    if kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
        check_heaps(Path(file.filename))
    return np.asarray(holder.attrs[attribute] if attribute else file[name][()])
