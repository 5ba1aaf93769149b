"""A run's metrics log, mirrored to MLflow by the process that started the run."""

import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from eventsam.metrics_log import MetricsLog, records_from

log = logging.getLogger(__name__)

MAX_PARAM_LENGTH = 6000
BATCH_SIZE = 900
"""MLflow takes at most 1000 metrics a call."""


class MlflowMirror:
    """Copies a metrics log to one MLflow run, whatever restarts happen on either side.

    The run is found again by its `resume_key` tag. How far the log was copied is kept beside it, so that a tracking
    server that is away loses nothing: the copy goes on when it answers again, in this process or a later one.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        name: str,
        metrics_log: MetricsLog,
        *,
        resume_key: str,
        tags: Mapping[str, str],
        parameters: Mapping[str, Any],
        parent: str | None = None,
        artifacts: Path | None = None,
    ) -> None:
        self.client = MlflowClient(tracking_uri=uri)
        self.metrics_log = metrics_log
        self.mark = metrics_log.path.with_suffix(".mlflow.json")
        experiment_id = _experiment(self.client, experiment, artifacts)
        self.run_id = _find_run(self.client, experiment_id, resume_key)
        if self.run_id is None:
            all_tags = {**tags, "mlflow.runName": name, "resume_key": resume_key}
            if parent is not None:
                all_tags["mlflow.parentRunId"] = parent
            self.run_id = self.client.create_run(experiment_id, tags=all_tags).info.run_id
            rows = [Param(key, str(value)[:MAX_PARAM_LENGTH]) for key, value in parameters.items()]
            for start in range(0, len(rows), 90):
                self.client.log_batch(self.run_id, params=rows[start : start + 90])
        else:
            self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            self.client.update_run(self.run_id, status="RUNNING")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def picture(self, name: str, png: bytes, folder: Path) -> None:
        """Keep a PNG under `figures/` of the run."""
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        self.file(path, "figures")

    def file(self, path: Path, place: str) -> None:
        """Keep one file under `place` of the run."""
        self.client.log_artifact(self.run_id, str(path), place)

    def artifacts(self, folder: Path, place: str) -> None:
        """Keep a folder's files under `place` of the run."""
        self.client.log_artifacts(self.run_id, str(folder), place)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Report numbers that are in no log, such as an evaluation's."""
        now = round(time.time() * 1000)
        rows = [Metric(key, value, now, step) for key, value in values.items()]
        self.client.log_batch(self.run_id, metrics=rows)

    def tag(self, values: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in values.items()])

    def finish(self, status: str, timeout_s: float = 30.0) -> None:
        """Copy what is left and end the run with an MLflow status (FINISHED, FAILED, KILLED).

        What the server does not take within `timeout_s` stays in the log for the next mirror; a warning says so.
        """
        self._ending.set()
        self._thread.join(timeout_s)
        try:
            self._copy()
            self.client.set_terminated(self.run_id, status)
        except (MlflowException, OSError) as error:
            log.warning(
                "MLflow did not take the end of run %s (%s); the records stay in %s",
                self.run_id,
                error,
                self.metrics_log.path,
            )

    def _follow(self) -> None:
        pause_s = 1.0
        while not self._ending.wait(pause_s):
            try:
                self._copy()
                pause_s = 1.0
            except (MlflowException, OSError) as error:
                pause_s = min(60.0, pause_s * 2)
                log.warning(
                    "MLflow is away (%s); trying again in %.0f s, records stay in %s",
                    error,
                    pause_s,
                    self.metrics_log.path,
                )

    def _copy(self) -> None:
        start = json.loads(self.mark.read_text())["offset"] if self.mark.exists() else 0
        rows: list[Metric] = []
        reached = start
        for offset, record in records_from(self.metrics_log.path, start):
            reached = offset
            stamp, step = round(record["time"] * 1000), int(record["step"])
            rows += [Metric(k, v, stamp, step) for k, v in record.items() if k not in ("time", "step")]
        for first in range(0, len(rows), BATCH_SIZE):
            self.client.log_batch(self.run_id, metrics=rows[first : first + BATCH_SIZE])
        if reached != start:
            partial = self.mark.with_suffix(".partial")
            partial.write_text(json.dumps({"run_id": self.run_id, "offset": reached}))
            partial.replace(self.mark)


def default_uri(folder: Path) -> str:
    """Return the tracking URI of a SQLite store in a folder."""
    return f"sqlite:///{folder}/mlflow.db"


def _experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = artifacts.as_uri() if artifacts is not None else None
    return str(client.create_experiment(name, artifact_location=location))


def _find_run(client: MlflowClient, experiment_id: str, resume_key: str) -> str | None:
    found = client.search_runs([experiment_id], filter_string=f"tags.resume_key = '{resume_key}'", max_results=1)
    return str(found[0].info.run_id) if found else None
