"""How runs are tracked: their MLflow run opened from a folder, and what they leave there besides their logs."""

import dataclasses
import json
import logging
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventsam import checkpoint
from eventsam.metrics_log import records_from
from eventsam.provenance import code_hash, environment, environment_hash, git_commit
from eventsam.report.compare_folders import named_scores, rows_of_run
from eventsam.report.curves import logged_numbers
from eventsam.report.data import ReportData
from eventsam.report.summary import result_json
from eventsam.tracking.card import FOLDER, default_uri, read_card
from eventsam.tracking.catch_up import catch_up
from eventsam.tracking.links import checkpoint_links
from eventsam.tracking.mirror import MlflowMirror
from eventsam.tracking.outbox import Outbox
from eventsam.tracking.rows import redone_steps

log = logging.getLogger(__name__)

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


def keep_evaluation(folder: Path, report: ReportData) -> None:
    """Keep what held-out samples say of a run beside it, and send it to the run's server where it has one.

    `eventsam compare` finds the numbers and their intervals in either place.
    """
    result = result_json(report)
    try:
        (folder / "result.json").write_text(json.dumps(result, indent=1))
        if read_card(folder) is None:
            return
        outbox = Outbox(folder)
        for name, score in named_scores(rows_of_run(result["rows"])).items():
            bounds = {name: score.value, f"{name}/low": score.low, f"{name}/high": score.high}
            outbox.metrics({key: value for key, value in bounds.items() if value is not None}, step=0)
        outbox.file(folder / "result.json", "evaluation")
        caught = catch_up(folder)
        reason = caught.reason or str(caught.left) if caught.left else ""
    except (OSError, ValueError) as error:  # the numbers are still for the one who asked
        reason = str(error)
    if reason:
        log.warning("the evaluation of %s is not at MLflow (%s); send it with: eventsam track %s",
                    folder.name, reason, folder)  # fmt: skip
