"""How runs are tracked: their MLflow run opened from a folder, and what they leave there besides their logs."""

import dataclasses
import json
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventsam import checkpoint
from eventsam.metrics_log import records_from
from eventsam.provenance import code_hash, environment, environment_hash, git_commit
from eventsam.report.curves import logged_numbers
from eventsam.tracking.card import FOLDER, default_uri
from eventsam.tracking.mirror import MlflowMirror
from eventsam.tracking.rows import redone_steps

MAX_UPLOAD_BYTES = 2**30
"""Larger checkpoints are linked alone; a model version carries one of any size."""


@dataclass(frozen=True)
class Tracking:
    """Where runs are tracked; without a URI, in a SQLite file in the folder of the runs.

    `parent` is the run of a sweep above these runs: its folder, its key or its MLflow run id. With `register`, the best
    checkpoint of a finished run becomes a version of that model.
    """

    experiment: str = "eventsam"
    uri: str | None = None
    parent: MlflowMirror | Path | str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    register: str | None = None

    def uri_in(self, runs: Path) -> str:
        """Return the tracking URI for runs kept in a folder."""
        return self.uri or default_uri(runs)

    def under(self, parent: MlflowMirror | Path) -> "Tracking":
        """Return the tracking of runs that are children of an opened run, in its store and experiment."""
        mirror_uri = parent.uri if isinstance(parent, MlflowMirror) else self.uri
        return dataclasses.replace(self, parent=parent, uri=self.uri or mirror_uri)

    def open(
        self, folder: Path, parameters: Mapping[str, object], tags: Mapping[str, str], resume_key: str | None = None
    ) -> MlflowMirror:
        """Open the MLflow run of a run's folder, or go on with it; never waits for a server."""
        runs = folder.parent
        runs.mkdir(parents=True, exist_ok=True)
        # Children find their parent's store, also in another folder; only a store of one's own has files here.
        own = self.uri is None or self.uri == default_uri(runs)
        return MlflowMirror(
            folder,
            self.uri_in(runs),
            self.experiment,
            tags=provenance_tags() | {"folder": str(folder)} | {**self.tags, **tags},
            parameters=parameters,
            parent=self.parent,
            resume_key=resume_key,
            artifacts=runs / "artifacts" if own else None,
        )


def provenance_tags() -> dict[str, str]:
    """Return what every run is tagged with: hashes of code and environment, the commit, the machine, the command."""
    tags = {"code_hash": code_hash(), "environment_hash": environment_hash(), "host": socket.gethostname(),
            "mlflow.source.name": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}  # fmt: skip
    commit = git_commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def keep_results(mirror: MlflowMirror) -> None:
    """Send what a run leaves besides its log: recipe, environment, curves, its restarts, links to its checkpoints.

    The best checkpoint itself goes along where it is not larger than `MAX_UPLOAD_BYTES`.
    """
    folder = mirror.folder
    environment_file = folder / FOLDER / "environment.json"
    environment_file.write_text(json.dumps(dict(environment()), indent=1))
    mirror.file(environment_file, "provenance")
    if (folder / "recipe.json").exists():
        mirror.file(folder / "recipe.json", "provenance")
    records = mirror.metrics_log.read()
    if records:
        mirror.picture("curves.png", logged_numbers(records), folder / "figures")
    redone = redone_steps(record for _, record in records_from(mirror.metrics_log.path, 0))
    restarts = {
        "restarts": redone.num_restarts,
        "redone_steps": redone.num_steps,
        "redone_steps_that_differ": redone.num_different,
    }
    mirror.tag(checkpoint_links(folder) | {name: str(count) for name, count in restarts.items()})
    best = checkpoint.chosen(folder / "checkpoints") if (folder / "checkpoints").is_dir() else None
    if best is not None and sum(path.stat().st_size for path in best.iterdir()) <= MAX_UPLOAD_BYTES:
        mirror.artifacts(best, "checkpoint")


def checkpoint_links(folder: Path) -> dict[str, str]:
    """Return the tags that lead to a run's checkpoints: `checkpoint` is the last one, `checkpoint.best` the best."""
    root = folder / "checkpoints"
    if not root.is_dir():
        return {}
    storage = checkpoint.open_storage(checkpoint.place(root), root)
    last, best = storage.newest(), storage.best()
    if last is None:
        return {}
    state = storage.state(last)
    return {
        "checkpoint": f"{storage.location}/{last}",
        "checkpoint.best": f"{storage.location}/{best or last}",
        "checkpoint.step": str(state.step),
        "catalog_hash": state.catalog_hash,
    }
