"""The kept index: used while the file is the same, rebuilt when it changed or the index is damaged."""

import os
from pathlib import Path

import numpy as np
import pytest

from eventsam.io.index_cache import Arrays, cached_index


class Counting:
    """Builds an index and counts how often."""

    def __init__(self) -> None:
        self.num_built = 0

    def __call__(self) -> Arrays:
        self.num_built += 1
        return {"count": np.array([self.num_built])}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recording.raw"
    path.write_bytes(b"events")
    return path


def test_an_index_is_built_once_per_file_and_reader(file: Path) -> None:
    build = Counting()
    folder = file.parent / "indexes"
    for reader in ("evt3", "evt3", "evt2"):
        cached_index(file, reader, folder, build)
    assert build.num_built == 2
    assert cached_index(file, "evt3", folder, build)["count"][0] == 1


def test_a_changed_file_is_indexed_again(file: Path) -> None:
    build = Counting()
    cached_index(file, "evt3", file.parent, build)
    file.write_bytes(b"other events")
    cached_index(file, "evt3", file.parent, build)
    os.utime(file, ns=(1, 1))
    cached_index(file, "evt3", file.parent, build)
    assert build.num_built == 3


def test_a_damaged_index_is_built_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    build = Counting()
    folder = file.parent / "indexes"
    cached_index(file, "evt3", folder, build)
    (kept,) = folder.iterdir()
    kept.write_bytes(kept.read_bytes()[:40])
    assert cached_index(file, "evt3", folder, build)["count"][0] == 2
    assert "cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written_costs_speed_only(file: Path) -> None:
    build = Counting()
    blocked = file / "not_a_folder"
    assert cached_index(file, "evt3", blocked, build)["count"][0] == 1
