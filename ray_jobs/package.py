"""What a submitted job carries: the files of its working directory by Ray's own rules, and which are too large."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# Private, but the only way to count exactly what Ray will pack; tests hold the two against each other.
from ray._private.runtime_env.packaging import _get_excludes, get_excludes_from_ignore_files

MIB = 2**20
MAX_UPLOAD_MIB = 100
"""More than code and a few small files is a mistake nearly always; Ray itself refuses from 512 MiB."""

DEFAULT_EXCLUDES = (
    ".git",
    ".venv",
    "venv",
    "__pycache__",
    "*.egg-info",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".ipynb_checkpoints",
    "mlruns",
)
"""Never wanted on a cluster; what else to leave out stands in .gitignore and .rayignore, or after --exclude."""

_silent = logging.getLogger(f"{__name__}.ray")
_silent.disabled = True


@dataclass(frozen=True)
class Package:
    """The files that go with a job: path below `folder` to bytes."""

    folder: Path
    files: Mapping[str, int]
    excludes: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """What is uploaded: Ray packs without compression."""
        return sum(self.files.values())

    def largest(self, num: int = 5) -> list[tuple[str, int]]:
        """Return the largest files and folders with their bytes, largest first; none lies inside another.

        A folder stands for its content, unless one thing in it holds nearly all of it: then that thing is named.
        """
        children = self._children
        found = []
        for path in children[""]:
            while path in children:
                heaviest = max(children[path], key=self._sizes.__getitem__)
                if self._sizes[heaviest] < 0.8 * self._sizes[path]:
                    break
                path = heaviest
            found.append((f"{path}/" if path in children else path, self._sizes[path]))
        return sorted(found, key=lambda entry: -entry[1])[:num]

    def holds(self, path: str) -> bool:
        """Say whether a path, relative to the folder, is among the files or a folder of them."""
        return os.path.normpath(path) in self._sizes

    @cached_property
    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name, num_bytes in self.files.items():
            for path in (name, *_folders(name)):
                sizes[path] = sizes.get(path, 0) + num_bytes
        return sizes

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        children: dict[str, list[str]] = {"": []}
        for path in self._sizes:
            if path:
                children.setdefault(path.rpartition("/")[0], []).append(path)
        return children


def survey(folder: Path, excludes: Sequence[str] = ()) -> Package:
    """Return what Ray would upload of a folder.

    `excludes` are patterns as in .gitignore, added to DEFAULT_EXCLUDES; the .gitignore and .rayignore of every folder
    count too (.gitignore not where RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1 says so).

    Raises:
        ValueError: `folder` is no folder, or a link in it leads back to a folder around it.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise ValueError(f"the working directory {folder} is no folder")
    patterns = (*DEFAULT_EXCLUDES, *excludes)
    respect_gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"
    matchers = [_get_excludes(folder, list(patterns))]
    files = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in _walk(folder, matchers, respect_gitignore, frozenset())
    }
    return Package(folder, dict(sorted(files.items())), patterns)


def check_size(package: Package, max_mib: float = MAX_UPLOAD_MIB) -> None:
    """Refuse an upload that is too large, naming what makes it so.

    Raises:
        ValueError: with the largest files and folders and the ways to leave them out.
    """
    if package.num_bytes <= max_mib * MIB:
        return
    shown = "\n".join(f"  {num_bytes / MIB:9.1f} MiB  {path}" for path, num_bytes in package.largest())
    raise ValueError(
        f"{package.folder} holds {package.num_bytes / MIB:.1f} MiB in {len(package.files)} files, allowed are "
        f"{max_mib:g} MiB; the largest:\n{shown}\n"
        "leave them out with a line in .rayignore or with --exclude PATTERN (data, runs and checkpoints belong on "
        "storage that all nodes share), or allow more with --max-upload-mib"
    )


def _walk(path: Path, matchers: list[Any], gitignore: bool, around: frozenset[Path]) -> Iterator[Path]:
    """Yield the files below a path in Ray's way: an ignore file speaks for its folder and everything below."""
    own = get_excludes_from_ignore_files(path, include_gitignore=gitignore, logger=_silent)
    matchers = [*matchers, *own]
    if any(matches(path) for matches in matchers):
        return
    if path.is_file():
        yield path
    elif path.is_dir():
        real = path.resolve()
        if real in around:
            raise ValueError(f"{path} is a link to a folder that it lies in; leave it out with --exclude")
        for child in sorted(path.iterdir()):
            yield from _walk(child, matchers, gitignore, around | {real})


def _folders(name: str) -> Iterator[str]:
    """Yield the folders around a file, the innermost first and "" for all."""
    while name:
        name = name.rpartition("/")[0]
        yield name
