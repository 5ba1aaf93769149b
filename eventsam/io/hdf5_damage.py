"""Checks of what an HDF5 file declares, before the HDF5 library is asked to act on it.

The library trusts some of what a file says: it allocates declared chunks, loops over damaged heaps, and its filters
read settings that are not there. Each check here is for a damaged file that made it crash, hang or fill the memory.
"""

import importlib
import math
import mmap
from pathlib import Path

import h5py

from eventsam.io.recording import RecordingError

MAX_CHUNK_BYTES = 64 << 20
"""A dataset's chunks may be this large in any file, and larger only in a file of at least a tenth of that."""
BLOSC, ECF = 32001, 0x8ECF

PLUGINS = {
    ECF: "Prophesee's ECF codec: install its HDF5 plugin (https://github.com/prophesee-ai/hdf5_ecf, or the package "
    "hdf5-plugin-ecf of the Metavision SDK) and set HDF5_PLUGIN_PATH to its folder"
}

NUM_VALUES = {1: 1, BLOSC: 4, 32026: 4, 32008: 3}
"""Settings that deflate, Blosc, Blosc2 and Bitshuffle have at least in files that their writers made."""
HEAP = b"GCOL\x01\x00\x00\x00"
"""How a heap of texts begins: signature, version, three zeros."""
HEAP_SPAN = 64 << 20
"""Heaps are looked for in so many bytes of either end of a file."""


def check_heaps(path: Path) -> None:
    """Refuse a file with a heap of texts in which the next entry cannot be found: HDF5 would look for it for ever."""
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        spans = [(0, size)] if size <= 2 * HEAP_SPAN else [(0, HEAP_SPAN), (size - HEAP_SPAN, size)]
        for begin, end in spans:
            place = data.find(HEAP, begin, end)
            while place >= 0:
                _check_heap(path, data, place)
                place = data.find(HEAP, place + len(HEAP), end)


def _check_heap(path: Path, data: mmap.mmap, start: int) -> None:
    num_bytes = int.from_bytes(data[start + 8 : start + 16], "little")
    place, end = start + 16, start + num_bytes
    while place + 16 <= end:
        number, size = (
            int.from_bytes(data[place : place + 2], "little"),
            int.from_bytes(data[place + 8 : place + 16], "little"),
        )
        # An entry states its data's size; the last one, number 0, that of the rest, itself included.
        step = size if number == 0 else 16 + -(-size // 8) * 8
        if step < 16 or place + step > min(end, len(data)):
            raise RecordingError(
                f"{path}: byte {place}: an entry of {size} bytes in a heap of {num_bytes}: it is damaged"
            )
        place += step


def check_filters(path: Path, name: str, dataset: h5py.Dataset) -> None:
    """Refuse a dataset whose filters are not installed, naming what to install, or lack their settings."""
    settings = dataset.id.get_create_plist()
    for number in range(settings.get_nfilters()):
        code, _, values, _ = settings.get_filter(number)
        if len(values) < NUM_VALUES.get(code, 0):
            # The filters read what is not there.
            raise RecordingError(f"{path}: {name} has HDF5 filter {code} with {len(values)} settings: it is damaged")
        if not h5py.h5z.filter_avail(code):
            # Registers its filters when it is imported; few files need them.
            importlib.import_module("hdf5plugin")
        if not h5py.h5z.filter_avail(code):
            needs = PLUGINS.get(code, "a plugin: set HDF5_PLUGIN_PATH to the folder that holds it")
            raise RecordingError(f"{path}: {name} is compressed by HDF5 filter {code} (0x{code:X}): it needs {needs}")


def check_storage(path: Path, name: str, dataset: h5py.Dataset) -> None:
    """Refuse what is not in this file, and a declared shape that is not stored."""
    if dataset.shape is None or not len(dataset.shape):
        raise RecordingError(f"{path}: {name} holds one value, expected rows")
    if dataset.is_virtual or dataset.external:
        raise RecordingError(f"{path}: {name} keeps its data in other files")
    if dataset.chunks is None:
        if dataset.id.get_storage_size() < dataset.size * dataset.dtype.itemsize:
            raise RecordingError(f"{path}: {name} declares shape {dataset.shape}, of which less is stored")
        return
    chunk_bytes = math.prod(int(side) for side in dataset.chunks) * dataset.dtype.itemsize
    num_bytes = path.stat().st_size
    if chunk_bytes > max(MAX_CHUNK_BYTES, 10 * num_bytes):
        raise RecordingError(f"{path}: {name} declares chunks of {chunk_bytes} bytes in a file of {num_bytes}")
    expected = 1
    for side, chunk in zip(dataset.shape, dataset.chunks, strict=True):
        expected *= -(-int(side) // int(chunk))
    stored = dataset.id.get_num_chunks() if expected else 0
    if stored < expected:
        raise RecordingError(f"{path}: {name} declares {expected} chunks (shape {dataset.shape}), {stored} are stored")


def check_chunks(path: Path, name: str, dataset: h5py.Dataset, first: int, end: int) -> None:
    """Refuse compressed chunks that are larger, or say they unpack to more, than a chunk can be.

    HDF5 hands a filter the chunk as it lies in the file, and Blosc allocates what the chunk's own header says.
    """
    if dataset.chunks is None or not dataset.id.get_create_plist().get_nfilters() or dataset.ndim > 2:
        return
    settings = dataset.id.get_create_plist()
    is_blosc = settings.get_filter(settings.get_nfilters() - 1)[0] == BLOSC
    axis = 1 if dataset.ndim == 2 and dataset.shape[0] == 1 else 0
    step = int(dataset.chunks[axis])
    limit = 2 * math.prod(int(side) for side in dataset.chunks) * dataset.dtype.itemsize + 4096
    for row in range(first - first % step, end, step):
        coordinates = tuple(row if at == axis else 0 for at in range(dataset.ndim))
        size = dataset.id.get_chunk_info_by_coord(coordinates).size
        if size > limit:
            raise RecordingError(f"{path}: {name}: the chunk of row {row} takes {size} bytes, at most {limit} fit")
        if is_blosc:
            _check_blosc(f"{path}: {name}: the chunk of row {row}", dataset.id.read_direct_chunk(coordinates)[1], limit)


def _check_blosc(what: str, chunk: bytes, limit: int) -> None:
    if len(chunk) < 16:
        raise RecordingError(f"{what} has {len(chunk)} bytes, Blosc's header has 16")
    unpacked, packed = int.from_bytes(chunk[4:8], "little"), int.from_bytes(chunk[12:16], "little")
    if unpacked > limit or packed > len(chunk):
        raise RecordingError(
            f"{what} declares {unpacked} bytes in {packed}, at most {limit} in {len(chunk)} can be: it is damaged"
        )
