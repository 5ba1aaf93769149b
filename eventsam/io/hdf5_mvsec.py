"""MVSEC's `*_data.hdf5` (Zhu et al., RA-L 2018): events, grey frames and inertial samples of two DAVIS346.

Under `davis/left` and `davis/right`: `events` (N, 4) float64 x, y, t (seconds since 1970), p (-1, +1); `image_raw`
(M, 260, 346) uint8 with `image_raw_ts` (M,) s; `imu` (K, 6) float64 accelerometer m/s^2 then gyroscope rad/s, with
`imu_ts` (K,) s. `stream` picks `left` or `right` where both are there. The sensor size is the frames', else 260x346,
which is what MVSEC's cameras have. Files of other datasets in this layout give height and width.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.block_recording import BlockRecording, from_seconds
from eventsam.io.column_blocks import ColumnSource
from eventsam.io.format import Format
from eventsam.io.hdf5_columns import TableColumns
from eventsam.io.hdf5_file import Hdf5Array, Hdf5File, dataset_shapes, is_hdf5
from eventsam.io.hdf5_generic import stated_size
from eventsam.io.hdf5_write import CHUNK_ROWS, extend
from eventsam.io.named_columns import Clock
from eventsam.io.recording import Frame, Imu, LazyFrames, OpenOptions, RecordingError
from eventsam.unknown_name import unknown_name

HEIGHT, WIDTH = 260, 346
CAMERAS = ("left", "right")


class MvsecRecording(BlockRecording):
    """One camera of an MVSEC file; frames state one time each, so their exposure has length 0."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open the camera that `options.stream` names; raise RecordingError for a faulty file."""
        self._file = Hdf5File(path)
        with self._file.reading("the file"):
            pass
        self._camera = f"davis/{_choose(path, options.stream)}"
        columns = TableColumns(self._file, f"{self._camera}/events", (0, 1, 2, 3))
        self._images = self._find("image_raw", "image_raw_ts", num_axes=3)
        clock = Clock.of(columns.time_dtype)
        source = ColumnSource(path, columns, clock, f"mvsec:{self._camera}", options.index_folder)
        super().__init__("mvsec", path, self._size(options), source, options)

    def frames(self) -> Sequence[Frame]:
        """Return the grey frames (1, H, W), read one by one."""
        if self._images is None:
            return LazyFrames(0, self._read_frame)
        return LazyFrames(len(self._images[1]), self._read_frame)

    def imu(self) -> Imu:
        """Return the inertial samples."""
        found = self._find("imu", "imu_ts", num_axes=2)
        if found is None or found[0].shape[1] != 6:
            return Imu.empty()
        values = found[0].read(0, len(found[0])).astype(np.float32)
        return Imu(found[1], np.ascontiguousarray(values[:, :3]), np.ascontiguousarray(values[:, 3:]))

    def _size(self, options: OpenOptions) -> tuple[int, int]:
        stated = stated_size(self._file, self._camera)
        if stated is None and self._images is not None:
            stated = self._images[0].shape[1], self._images[0].shape[2]
        path = self._file.path
        return options.size(path, stated) if stated or options.height else (HEIGHT, WIDTH)

    def _find(self, name: str, times: str, num_axes: int) -> tuple[Hdf5Array, NDArray[np.int64]] | None:
        shapes = dataset_shapes(self._file.path)
        names = f"{self._camera}/{name}", f"{self._camera}/{times}"
        if not all(name in shapes for name in names):
            return None
        values, seconds = (self._file.array(name) for name in names)
        if len(values.shape) != num_axes or values.dtype.kind not in "iuf" or seconds.dtype.kind != "f":
            raise RecordingError(f"{self._file.path}: {names[0]} holds {values.dtype} of shape {values.shape}")
        if len(values) != len(seconds):
            raise RecordingError(f"{self._file.path}: {names[0]} has {len(values)} rows, {names[1]} has {len(seconds)}")
        try:
            return values, Clock("s")(seconds.read(0, len(seconds)))
        except RecordingError:
            raise
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: {names[1]}: {error}") from error

    def _read_frame(self, number: int) -> Frame:
        if self._images is None:
            raise IndexError(f"frame {number} of 0")
        image = self._images[0].read(number, number + 1)
        if image.dtype != np.uint8:
            raise RecordingError(f"{self._file.path}: {self._images[0].name} holds {image.dtype}, expected uint8")
        t_us = int(self._images[1][number])
        return Frame(t_us, t_us, t_us, np.ascontiguousarray(image))


def _choose(path: Path, stream: str | None) -> str:
    shapes = dataset_shapes(path)
    found = [camera for camera in CAMERAS if f"davis/{camera}/events" in shapes]
    if stream is not None:
        name = stream.removeprefix("davis/").removesuffix("/events")
        if name not in found:
            raise RecordingError(f"{path}: {unknown_name('stream', stream, found)}")
        return name
    if len(found) != 1:
        wanted = f"several event streams, choose one by stream=...: {', '.join(found)}"
        raise RecordingError(f"{path}: {wanted if found else 'expected davis/left/events or davis/right/events'}")
    return found[0]


def _matches(path: Path, start: bytes) -> bool:
    if not is_hdf5(start):
        return False
    shapes = dataset_shapes(path)
    return any(f"davis/{camera}/events" in shapes for camera in CAMERAS)


def write_mvsec(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write `davis/left/events` in float64 seconds.

    Raises ValueError for another sensor than MVSEC's 260x346, and for times that would not come back from seconds
    exactly (beyond the year 2100, as microseconds since 1970).
    """
    if (height, width) != (HEIGHT, WIDTH):
        raise ValueError(
            f"MVSEC's layout is that of cameras of height {HEIGHT}, width {WIDTH}; this recording has height {height}, "
            f"width {width}: write hdf5 instead"
        )
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "davis/left/events", (0, 4), np.float64, chunks=(CHUNK_ROWS // 4, 4), maxshape=(None, 4),
            compression="gzip", compression_opts=1, shuffle=True,
        )  # fmt: skip
        file["davis/left"].attrs["height"], file["davis/left"].attrs["width"] = height, width
        for chunk in chunks:
            extend(dataset, _rows(chunk))


def _rows(chunk: Events) -> NDArray[Any]:
    rows = np.empty((len(chunk), 4), np.float64)
    rows[:, 0], rows[:, 1] = chunk.x, chunk.y
    rows[:, 2] = chunk.t / 1e6
    rows[:, 3] = np.where(chunk.p == 1, 1.0, -1.0)
    back = from_seconds(rows[:, 2])
    if not np.array_equal(back, chunk.t):
        number = int(np.argmax(back != chunk.t))
        raise ValueError(f"MVSEC's float64 seconds cannot hold {chunk.t[number]} us exactly: write hdf5 instead")
    return rows


FORMATS = (Format("mvsec", "MVSEC data.hdf5", (), _matches, MvsecRecording, write_mvsec),)
