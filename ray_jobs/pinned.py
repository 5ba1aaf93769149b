"""The packages that a job counts on: pinned where it is submitted, compared on the cluster before anything starts.

`python -m ray_jobs.pinned` does the comparing; it imports nothing that could be missing there.
"""

import importlib.metadata
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

VARIABLE = "EVENTSAM_PINS"
"""Environment variable that carries the pins to the job, as `name==version` with spaces between."""

BAD_INPUT = 2


def pins(folder: Path | None) -> dict[str, str]:
    """Return the version of every direct dependency of the project in `folder`, or of the installed one.

    constraints.txt decides: it travels with the code, and the nodes were set up from it. Where it is silent, the
    version in the running environment counts; a package that is in neither is left out.
    """
    stated = _constraints(folder / "constraints.txt") if folder else {}
    found = {}
    for name in _dependencies(folder / "pyproject.toml" if folder else None):
        version = stated.get(name) or _installed(name)
        if version is not None:
            found[name] = version
    return found


def differences(wanted: Mapping[str, str]) -> list[str]:
    """Return one line per package that is missing here or of another version.

    The local part of a version is not compared: 2.11.0+cpu and 2.11.0+cu130 are one release for two machines.
    """
    lines = []
    for name, version in wanted.items():
        here = _installed(name)
        if here is None:
            lines.append(f"{name}: not installed, pinned to {version}")
        elif here.split("+")[0] != version.split("+")[0]:
            lines.append(f"{name}: {here} installed, pinned to {version}")
    return lines


def to_words(wanted: Mapping[str, str]) -> str:
    """Return pins as the environment variable holds them."""
    return " ".join(f"{name}=={version}" for name, version in wanted.items())


def from_words(words: str) -> dict[str, str]:
    """Return the pins that `to_words` wrote."""
    return dict(word.split("==", 1) for word in words.split())


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Compare this environment with the pins of the environment variable; return the exit code."""
    lines = differences(from_words(os.environ.get(VARIABLE, "")))
    if not lines:
        return 0
    sys.stderr.write(
        "error: the packages on this node are not those that the job was submitted with:\n  "
        + "\n  ".join(lines)
        + f"\n(python: {sys.executable})\ninstall them there (pip install -c constraints.txt ...), or submit with "
        "--packages install (Ray installs them for this job) or --packages trust (compare nothing)\n"
    )
    return BAD_INPUT


def _constraints(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in path.read_text().splitlines())
    return {canonical(name): version for name, _, version in _split(lines) if version}


def _split(lines: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    for line in lines:
        name, equals, version = line.partition("==")
        yield name.strip(), equals, version.strip()


def _dependencies(path: Path | None) -> list[str]:
    if path is not None and path.exists():
        requirements = tomllib.loads(path.read_text())["project"]["dependencies"]
    else:
        requirements = [text for text in importlib.metadata.requires("eventsam") or [] if "extra ==" not in text]
    return [canonical(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]) for text in requirements]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
