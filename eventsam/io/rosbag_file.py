"""Bag files, ROS 1 and ROS 2, through the `rosbags` package: topics, definitions, raw messages by log time.

A log time is when a message was recorded, in ns; events have times of their own inside the messages.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventsam.io.recording import RecordingError
from eventsam.io.rosbag_fields import PARSE_FAULTS, TEXTS, FieldReader
from eventsam.io.rosbag_records import BAG_MAGIC, MCAP_MAGIC, check_bag, check_mcap

try:
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.rosbag1 import Reader as Bag1Reader
    from rosbags.rosbag2 import Reader as Bag2Reader
    from rosbags.typesys import get_types_from_idl, get_types_from_msg
except ImportError as missing:
    _missing: ImportError | None = missing
else:
    _missing = None

SQLITE_MAGIC = b"SQLite format 3\0"
TIME: tuple[list[Any], list[Any]] = ([], [("sec", (1, ("uint32", 0))), ("nanosec", (1, ("uint32", 0)))])
"""ROS 1 has times as a base type, so that its bags define none."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its name, message type (ROS 2 style) and number of messages as the bag states it."""

    name: str
    type: str
    num_messages: int

    def __str__(self) -> str:
        """Name, type and number, for people."""
        return f"{self.name} ({self.type}, {self.num_messages} messages)"


class _Held:
    """An open reader of `rosbags`, closed when nobody needs it any more."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def __del__(self) -> None:
        with suppress(Exception):
            self.reader.close()


class Bag:
    """A bag opened for reading from any thread: each has a reader of its own, opened when it first reads.

    Raises RecordingError for a file that is no bag or is damaged, and where `rosbags` is not installed.
    """

    def __init__(self, path: Path) -> None:
        """Check the files' records and list the topics."""
        if _missing is not None:
            raise RecordingError(f"{path}: reading bags needs rosbags: pip install rosbags ({_missing})")
        self.path = path
        self._local = threading.local()
        self.files = storage_files(path)
        for file in self.files:
            _check(file)
        found: dict[tuple[str, str], int] = {}
        for connection in self._connections():
            key = connection.topic, connection.msgtype
            found[key] = found.get(key, 0) + _whole(connection.msgcount)
        self.topics = [Topic(name, kind, count) for (name, kind), count in sorted(found.items())]

    @property
    def is_ros1(self) -> bool:
        """True for a ROS 1 bag."""
        return _start(self.files[0]) == BAG_MAGIC if self.files else False

    def _reader(self) -> Any:
        held = getattr(self._local, "held", None)
        if held is None:
            try:
                held = _Held(_open(self.path))
            # Whatever the package stumbles over in a damaged file, from its own errors to assertions.
            except Exception as error:
                raise RecordingError(f"{self.path}: {_text(error)}") from error
            self._local.held = held
        return held.reader

    def _connections(self) -> list[Any]:
        reader = self._reader()
        try:
            return [c for c in reader.connections if isinstance(c.topic, str) and isinstance(c.msgtype, str)]
        except Exception as error:
            raise RecordingError(f"{self.path}: {_text(error)}") from error

    def fields(self, topic: Topic) -> FieldReader:
        """Return the reader of a topic's messages, by the definition that the bag carries, or else the public one."""
        connection = next(c for c in self._connections() if (c.topic, c.msgtype) == (topic.name, topic.type))
        try:
            definitions = _definitions(connection)
            return FieldReader(definitions, topic.type, cdr=not self.is_ros1)
        except Exception as error:
            raise RecordingError(f"{self.path}: definition of {topic.type}: {_text(error)}") from error

    def messages(self, topic: Topic, start: int | None = None, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Return log time (ns) and bytes of a topic's messages with log times in [start, stop), in the bag's order."""
        reader = self._reader()
        try:
            chosen = [c for c in reader.connections if (c.topic, c.msgtype) == (topic.name, topic.type)]
            for _, log_time, data in reader.messages(chosen, start, stop):
                yield int(log_time), bytes(data)
        except Exception as error:
            raise RecordingError(f"{self.path}: {topic.name}: {_text(error)}") from error


def choose_topic(bag: Bag, name: str | None, types: Sequence[str]) -> Topic:
    """Return the topic of these types that is named, or the only one; raise RecordingError listing the topics."""
    found = [topic for topic in bag.topics if topic.type in types and (name is None or topic.name == name)]
    if len(found) != 1:
        wanted = f"a topic {name} of events" if name is not None else "one topic of events"
        listed = "; ".join(str(topic) for topic in bag.topics) or "none"
        raise RecordingError(
            f"{bag.path}: expected {wanted} (choose it by `stream`), found {len(found)}; topics: {listed}"
        )
    return found[0]


def nearest_topic(bag: Bag, kind: str, to: str) -> Topic | None:
    """Return the topic of a type whose name shares most leading parts with another's (the same camera), if any."""

    def shared(topic: Topic) -> int:
        parts = zip(topic.name.split("/"), to.split("/"), strict=False)
        return next((i for i, (a, b) in enumerate(parts) if a != b), 1 << 10)

    return max((topic for topic in bag.topics if topic.type == kind), key=shared, default=None)


def storage_files(path: Path) -> list[Path]:
    """Return the files that hold a bag's messages, the bag itself where it is one file."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file() and file.name != "metadata.yaml")


def _open(path: Path) -> Any:
    start = b"" if path.is_dir() else _start(path)
    if start == BAG_MAGIC:
        reader = Bag1Reader(path)
    elif path.is_dir():
        reader = Bag2Reader(path)
    else:
        # By content: the package itself goes by the suffix.
        reader = Bag2Reader.STORAGE_PLUGINS[".mcap" if start.startswith(MCAP_MAGIC) else ".db3"](path)
    reader.open()
    return reader


def _check(file: Path) -> None:
    start = _start(file)
    if start == BAG_MAGIC:
        check_bag(file)
    elif start.startswith(MCAP_MAGIC):
        check_mcap(file)


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(len(BAG_MAGIC))


def _whole(count: object) -> int:
    return count if isinstance(count, int) and count > 0 else 0


def _definitions(connection: Any) -> dict[str, Any]:
    kind, text = connection.msgdef.format, connection.msgdef.data
    if kind == MessageDefinitionFormat.NONE:
        if connection.msgtype not in TEXTS:
            raise ValueError("the bag carries none")
        kind, text = MessageDefinitionFormat.MSG, TEXTS[connection.msgtype]
    if kind == MessageDefinitionFormat.MSG:
        found: dict[str, Any] = dict(get_types_from_msg(text, connection.msgtype))
    else:
        rule = "=" * 80 + "\nIDL: "
        parts = [part.split("\n", 1)[1] for part in text.split(rule)[1:]] if text.startswith(rule) else [text]
        found = {name: fields for part in parts for name, fields in get_types_from_idl(part).items()}
    return {"builtin_interfaces/msg/Time": TIME} | found


def _text(error: Exception) -> str:
    return f"{error}" if isinstance(error, PARSE_FAULTS) and str(error) else f"{type(error).__name__}: {error}"
