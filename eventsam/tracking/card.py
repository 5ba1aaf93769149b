"""What a tracked run is, written into its folder before any server hears of it."""

import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "tracking"
"""Below a run's folder: its card, its outbox, how far both were copied, and who writes them."""

SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


@dataclass(frozen=True)
class RunCard:
    """An MLflow run as it must be created.

    `key` finds the run again by its `resume_key` tag. `parent` is the parent's key, or an MLflow run id;
    `parent_folder` holds the parent's own card, so that a child that comes first can create it. `artifacts` is where a
    new experiment keeps its files, None for the server's own place. `started` is in seconds since 1970.
    """

    uri: str
    experiment: str
    name: str
    key: str
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    parent_folder: str | None = None
    artifacts: str | None = None
    started: float = field(default_factory=time.time)


def new_key(name: str) -> str:
    """Return a key that no other run has, whatever its name and on whichever machine it runs."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def write_card(folder: Path, card: RunCard) -> None:
    """Write a run's card; a password in the URI stays out of it."""
    path = folder / FOLDER / "card.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**asdict(card), "uri": masked(card.uri)}, indent=1))
    partial.replace(path)


def read_card(folder: Path) -> RunCard | None:
    """Return the card of a run's folder, None where the folder is not tracked."""
    path = folder / FOLDER / "card.json"
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    return RunCard(**record)


def default_uri(folder: Path) -> str:
    """Return the tracking URI of a SQLite store in a folder."""
    return f"sqlite:///{folder}/mlflow.db"


def check_uri(uri: str) -> str:
    """Return a tracking URI that MLflow can serve.

    Raises:
        ValueError: its scheme is unknown; the allowed ones are listed.
    """
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in SCHEMES:
        raise ValueError(
            f"tracking URI {masked(uri)!r} is not one that MLflow serves (allowed: {', '.join(SCHEMES)}; "
            "as in sqlite:////data/runs/mlflow.db or http://host:5000)"
        )
    return uri


def masked(uri: str) -> str:
    """Return a URI without its password, as it may be written down and shown."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)
