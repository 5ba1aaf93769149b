"""Checkpoints in an S3 bucket, which has no rename: data under a name of its own first, one marker object last."""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pyarrow.fs import AwsStandardS3RetryStrategy, FileSelector, FileType, S3FileSystem, resolve_s3_region

from eventsam.checkpoint.local import LocalStorage, damage
from eventsam.checkpoint.state import STATE, Snapshot, State, state_of
from eventsam.checkpoint.storage import BEST, CheckpointWriteError, folder_name, write_files
from eventsam.checkpoint.tensor_file import Piece
from eventsam.unknown_name import unknown_name

log = logging.getLogger(__name__)

OPTIONS = ("endpoint_override", "scheme", "region")
"""What a URL's query may state; keys and secrets come from the usual environment variables or the machine's role."""

NUM_ATTEMPTS = 5
CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 10.0, 60.0
COPY_BYTES = 8 * 2**20


@dataclass(frozen=True)
class S3Storage:
    """Checkpoints below an `s3://bucket/prefix`, of which `cache` keeps those that are asked for.

    `committed/step_*.json` is a checkpoint's marker: it names the folder of its data and repeats its state.json. An
    upload that was cut short has data without a marker and is no checkpoint.
    """

    url: str
    cache: Path
    files: S3FileSystem = field(compare=False)
    prefix: str

    @property
    def location(self) -> str:
        """The URL."""
        return self.url

    def probe(self, num_bytes: int) -> None:
        """Write a small object and delete it; a bucket does not fill up."""
        path = f"{self.prefix}/probe-{uuid.uuid4().hex[:8]}"
        try:
            self._put(path, b"probe")
            self.files.delete_file(path)
        except OSError as error:
            raise CheckpointWriteError(f"checkpoints cannot be written to {self.url}: {error}") from error

    def commit(self, snapshot: Snapshot) -> str:
        """Upload a checkpoint's files, then the marker that makes them one."""
        name = folder_name(snapshot.step)
        data = f"{name}-{uuid.uuid4().hex[:8]}"
        record = write_files(snapshot, lambda file: self._object(f"{self.prefix}/{data}/{file}"))
        before = self._marker(name)
        self._put(self._marker_path(name), json.dumps({"data": data, "state": record}).encode())
        if before is not None:
            self._delete_data(before["data"])
        return name

    def names(self) -> list[str]:
        """Return the names of all committed checkpoints, oldest first."""
        paths = self._list(f"{self.prefix}/committed")
        return sorted(Path(path).stem for path in paths if Path(path).name.startswith("step_"))

    def newest(self) -> str | None:
        """Return the newest whole checkpoint."""
        for name in reversed(self.names()):
            problem = self._damage(name)
            if problem is None:
                return name
            log.warning("checkpoint %s of %s is damaged (%s); taking the one before it", name, self.url, problem)
        return None

    def state(self, name: str) -> State:
        """Return a checkpoint's state, read from its marker."""
        return state_of(self._committed(name)["state"], f"{self.url}: {name}")

    def folder(self, name: str) -> Path:
        """Return where `fetch` puts a checkpoint."""
        return self.cache / name

    def fetch(self, name: str) -> Path:
        """Download a checkpoint, whole or not at all, unless the cache holds this very one."""
        marker, target = self._committed(name), self.cache / name
        if target.exists():
            if damage(target) is None and json.loads((target / STATE).read_text()) == marker["state"]:
                return target
            shutil.rmtree(target)
        partial = self.cache / f".{name}.{uuid.uuid4().hex[:8]}.partial"
        partial.mkdir(parents=True)
        for file in (*marker["state"]["files"], STATE):
            self._download(f"{self.prefix}/{marker['data']}/{file}", partial / file)
        problem = damage(partial)
        if problem is not None:
            shutil.rmtree(partial)
            raise OSError(f"checkpoint {name} of {self.url} did not arrive whole: {problem}")
        try:
            partial.rename(target)
        except OSError:
            # Another worker of this machine was quicker.
            shutil.rmtree(partial)
        return target

    def point(self, name: str, record: Mapping[str, Any]) -> None:
        """Make a checkpoint the best one; the cache's pointer follows when it is fetched."""
        self._put(f"{self.prefix}/{BEST}", json.dumps({"checkpoint": name, **record}).encode())

    def best(self) -> str | None:
        """Return the name of the best checkpoint."""
        text = self._get(f"{self.prefix}/{BEST}")
        name = None if text is None else str(json.loads(text)["checkpoint"])
        return name if name is not None and self._marker(name) is not None else None

    def keep(self, num_last: int) -> None:
        """Delete all but the last `num_last` checkpoints and the best one, markers first."""
        best = self.best()
        for name in self.names()[:-num_last]:
            marker = self._marker(name)
            if name != best and marker is not None:
                self.files.delete_file(self._marker_path(name))
                self._delete_data(marker["data"])

    def clean(self) -> None:
        """Delete the data of uploads that were cut short."""
        known = {self._committed(name)["data"] for name in self.names()}
        for path in self._list(self.prefix, recursive=False, kind=FileType.Directory):
            if Path(path).name.startswith("step_") and Path(path).name not in known:
                self._delete_data(Path(path).name)
        LocalStorage(self.cache).clean()

    def mirror(self) -> None:
        """Have the cache hold the newest and the best checkpoint, its pointer, and nothing else."""
        newest, best = self.newest(), self.best()
        held = [name for name in (newest, best) if name is not None]
        for name in held:
            self.fetch(name)
        text = self._get(f"{self.prefix}/{BEST}")
        local = LocalStorage(self.cache)
        if best is not None and text is not None:
            record = json.loads(text)
            local.point(record.pop("checkpoint"), record)
        for name in set(local.names()) - set(held):
            shutil.rmtree(self.cache / name)

    def _damage(self, name: str) -> str | None:
        marker = self._marker(name)
        if marker is None:
            return "its marker is gone or cannot be read"
        try:
            state_of(marker["state"], name)
            for file, expected in marker["state"]["files"].items():
                info = self.files.get_file_info(f"{self.prefix}/{marker['data']}/{file}")
                if info.type != FileType.File:
                    return f"{file} is missing"
                if info.size != expected["bytes"]:
                    return f"{file} has {info.size} of {expected['bytes']} bytes"
        except (ValueError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def _marker_path(self, name: str) -> str:
        return f"{self.prefix}/committed/{name}.json"

    def _marker(self, name: str) -> dict[str, Any] | None:
        text = self._get(self._marker_path(name))
        try:
            record = None if text is None else json.loads(text)
        except ValueError:
            return None
        return record if isinstance(record, dict) else None

    def _committed(self, name: str) -> dict[str, Any]:
        marker = self._marker(name)
        if marker is None:
            raise FileNotFoundError(f"{self.url} holds no checkpoint {name}")
        return marker

    @contextmanager
    def _object(self, path: str) -> Iterator[Callable[[Piece], object]]:
        with self.files.open_output_stream(path) as stream:
            yield stream.write

    def _put(self, path: str, content: bytes) -> None:
        with self._object(path) as write:
            write(content)

    def _get(self, path: str) -> bytes | None:
        if self.files.get_file_info(path).type != FileType.File:
            return None
        with self.files.open_input_stream(path) as stream:
            return bytes(stream.readall())

    def _download(self, path: str, target: Path) -> None:
        with self.files.open_input_stream(path) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())

    def _list(self, folder: str, recursive: bool = True, kind: FileType = FileType.File) -> list[str]:
        found = self.files.get_file_info(FileSelector(folder, allow_not_found=True, recursive=recursive))
        return [info.path for info in found if info.type == kind]

    def _delete_data(self, data: str) -> None:
        self.files.delete_dir(f"{self.prefix}/{data}")


def open_s3(url: str, cache: Path) -> S3Storage:
    """Open `s3://bucket/prefix[?endpoint_override=...&scheme=http&region=...]`.

    Raises:
        ValueError: the URL names no bucket, holds a password, or states an unknown option.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            f"s3://...@{parts.netloc.rpartition('@')[2]}{parts.path}: keys do not belong into a URL; put them into "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"{url!r} must name a bucket and a prefix, as in s3://bucket/runs")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise ValueError(unknown_name(f"option in {url!r}:", name, OPTIONS))
    return S3Storage(url, cache, _file_system(parts.netloc, options), f"{parts.netloc}{parts.path.rstrip('/')}")


def _file_system(bucket: str, options: Mapping[str, str]) -> S3FileSystem:
    region = options.get("region")
    if region is None and "endpoint_override" not in options:
        try:
            region = resolve_s3_region(bucket)
        except OSError as error:
            log.warning("the region of bucket %s cannot be found out (%s); state it as ?region=...", bucket, error)
    endpoint = options.get("endpoint_override", "")
    scheme, _, host = endpoint.rpartition("://")
    return S3FileSystem(
        endpoint_override=host or None,
        scheme=options.get("scheme") or scheme or None,
        region=region,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        # One request for what fits into one part, instead of the three of an upload in parts.
        allow_delayed_open=True,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=NUM_ATTEMPTS),
    )
