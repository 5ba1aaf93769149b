"""ROS bags: ROS 1 (`.bag`) and ROS 2 (a folder with `metadata.yaml`, or one `.mcap` or `.db3` file).

Events come from one topic (`stream` names it where a bag has several), frames and inertial samples from the image and
Imu topics that share most of its name. Events' times are those in the messages; packets of encoding `evt3` count from
the sensor's zero, so they and the headers of frames may have different zeros.

A bag is not an index of events: the first opening reads the topic once and keeps, for runs of messages of about 100,000
events, their count, times and log times. A window then reads the messages from its first run's log time on. In a ROS 1
bag that still walks the topic's list of log times (not its data), and a chunk is decompressed whole.
"""

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.block_recording import BlockRecording
from eventsam.io.format import Format
from eventsam.io.recording import Frame, Imu, LazyFrames, OpenOptions, Recording, RecordingError
from eventsam.io.rosbag_fields import PARSE_FAULTS, FieldReader, stamp_ns, to_us
from eventsam.io.rosbag_file import SQLITE_MAGIC, Bag, Topic, choose_topic, nearest_topic
from eventsam.io.rosbag_records import BAG_MAGIC, MCAP_MAGIC
from eventsam.io.rosbag_source import BagSource
from eventsam.io.rosbag_write import write_bag

EVENT_TYPES = (
    "dvs_msgs/msg/EventArray",
    "prophesee_event_msgs/msg/EventArray",
    "event_camera_msgs/msg/EventPacket",
    "event_array_msgs/msg/EventArray",
)
IMAGE_TYPE, IMU_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/Imu"
CHANNELS = {"mono8": 1, "8UC1": 1, "bgr8": 3, "rgb8": 3}
"""Channels by image encoding."""


def open_bag(path: Path, options: OpenOptions) -> Recording:
    """Open a bag; raises RecordingError naming the file and what is wrong, or the topics to choose from."""
    bag = Bag(path)
    source = BagSource(bag, choose_topic(bag, options.stream, EVENT_TYPES), options.index_folder)
    return BagRecording("rosbag1" if bag.is_ros1 else "rosbag2", path, options.size(path, source.size), source, options)


class BagRecording(BlockRecording):
    """A bag's events with the frames and inertial samples of the nearest topics."""

    _source: BagSource

    @cached_property
    def _images(self) -> tuple[Topic, FieldReader] | None:
        topic = nearest_topic(self._source.bag, IMAGE_TYPE, self._source.topic.name)
        return None if topic is None else (topic, self._source.bag.fields(topic))

    @cached_property
    def _image_times(self) -> NDArray[np.int64]:
        topic = self._images[0] if self._images else None
        times = array("q", (log for log, _ in self._source.bag.messages(topic))) if topic else []
        return np.array(times, np.int64)

    def frames(self) -> Sequence[Frame]:
        """Return the frames in the bag's order, each read when it is asked for; its time is its header's."""
        return LazyFrames(self._images[0].num_messages if self._images else 0, self._read_frame)

    def _read_frame(self, number: int) -> Frame:
        assert self._images is not None
        topic, fields = self._images
        times = self._image_times
        if number >= len(times):
            raise RecordingError(f"{self.path}: {topic.name} states {topic.num_messages} frames, it holds {len(times)}")
        log_time = int(times[number])
        skip = int(np.count_nonzero(times[:number] == log_time))
        for _, message in islice(self._source.bag.messages(topic, log_time, log_time + 1), skip, skip + 1):
            try:
                return _to_frame(fields.read(fields.body(message)))
            except PARSE_FAULTS as error:
                raise RecordingError(f"{self.path}: {topic.name}: frame {number}: {error}") from error
        raise RecordingError(f"{self.path}: {topic.name}: frame {number} is gone")

    def imu(self) -> Imu:
        """Return the inertial samples; their times are their headers'."""
        topic = nearest_topic(self._source.bag, IMU_TYPE, self._source.topic.name)
        if topic is None:
            return Imu.empty()
        fields = self._source.bag.fields(topic)
        rows = []
        for log_time, message in self._source.bag.messages(topic):
            try:
                rows.append(_to_sample(fields.read(fields.body(message))))
            except PARSE_FAULTS as error:
                raise RecordingError(f"{self.path}: {topic.name}: message logged at {log_time} ns: {error}") from error
        with np.errstate(over="ignore"):
            values = np.array([row[1:] for row in rows], np.float32).reshape(-1, 6)
        return Imu(np.array([row[0] for row in rows], np.int64), values[:, :3].copy(), values[:, 3:].copy())


def _to_frame(fields: dict[str, Any]) -> Frame:
    encoding, height, width, step = (fields[name] for name in ("encoding", "height", "width", "step"))
    if encoding not in CHANNELS:
        raise ValueError(f"image of encoding {encoding!r}, can be read: {', '.join(CHANNELS)}")
    channels, data = CHANNELS[encoding], fields["data"]
    if not height or not width or step < width * channels or data.size != height * step:
        raise ValueError(f"image of {height}x{width}, rows of {step} bytes, holds {data.size} bytes")
    pixels = data.view(np.uint8).reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    image = pixels[..., ::-1] if encoding == "bgr8" else pixels
    t_us = to_us(stamp_ns(fields["header"]))
    return Frame(t_us, t_us, t_us, np.ascontiguousarray(image.transpose(2, 0, 1)))


def _to_sample(fields: dict[str, Any]) -> tuple[float, ...]:
    both = fields["linear_acceleration"], fields["angular_velocity"]
    return to_us(stamp_ns(fields["header"])), *(float(vector[axis]) for vector in both for axis in "xyz")


def write_rosbag1(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write a ROS 1 bag of `dvs_msgs/EventArray`; see `rosbag_write`."""
    write_bag(path, chunks, height, width)


def _matches_bag1(path: Path, start: bytes) -> bool:
    return start.startswith(BAG_MAGIC)


def _matches_bag2(path: Path, start: bytes) -> bool:
    if path.is_dir():
        metadata = path / "metadata.yaml"
        return metadata.is_file() and b"rosbag2_bagfile_information" in metadata.read_bytes()[:4096]
    tables = start.startswith(SQLITE_MAGIC) and b"topics" in start and b"messages" in start
    return start.startswith(MCAP_MAGIC) or tables


FORMATS = (
    Format("rosbag1", "ROS 1 bag", (".bag",), _matches_bag1, open_bag, write_rosbag1),
    Format("rosbag2", "ROS 2 bag", (), _matches_bag2, open_bag),
)
