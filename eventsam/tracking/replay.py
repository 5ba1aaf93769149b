"""One pass over a run's folder: whatever its server has not taken yet is sent, in order."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from eventsam.metrics_log import records_from
from eventsam.tracking.card import RunCard, masked, read_card
from eventsam.tracking.mark import LOGS, OUTBOX, Mark, read_mark, write_mark
from eventsam.tracking.outbox import Outbox
from eventsam.tracking.rows import fresh, metric_name, with_derived
from eventsam.tracking.server import connect, ensure_run, is_refusal, is_unknown_run

log = logging.getLogger(__name__)

METRICS_PER_CALL, PARAMETERS_PER_CALL = 900, 90
"""MLflow takes at most 1000 metrics and 100 parameters a call."""
MAX_PARAMETER_LENGTH, MAX_TAG_LENGTH = 6000, 5000


class Replay:
    """Copies one run's folder to one server; the mark in the folder says how far it got, whatever ends it."""

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        card = read_card(folder)
        if card is None:
            raise FileNotFoundError(f"{folder} holds no tracked run: tracking/card.json is missing")
        self.folder, self.uri = folder, uri or card.uri
        if uri is None and ":***@" in card.uri:
            raise ValueError(f"the password of {card.uri} is not kept in {folder}: give --tracking-uri again")
        # The local files of a SQLite store's experiment are no place for another server's.
        self.card = card if masked(self.uri) == card.uri else _moved(card, self.uri)
        self.mark = read_mark(folder, self.uri)

    @property
    def run_id(self) -> str | None:
        """The run's id on the server, None before the server heard of it."""
        return self.mark.run_id

    def once(self) -> None:
        """Send what waits.

        Raises:
            ServerAwayError, MlflowException, OSError: the server did not take it all; the mark holds what it took.
        """
        client = connect(self.uri)
        try:
            run_id = self._run(client)
            for name in LOGS:
                self._copy_log(client, run_id, name)
            self._empty_outbox(client, run_id)
        except MlflowException as error:
            if is_unknown_run(error) and self.mark.run_id is not None:
                log.warning("%s does not know run %s any more; it is sent anew", masked(self.uri), self.mark.run_id)
                self._keep(Mark())
            raise

    def _run(self, client: MlflowClient) -> str:
        if self.mark.run_id is None:
            self.mark.run_id = ensure_run(client, self.folder, self.card)
            self._keep(self.mark)
        if not self.mark.parameters_sent:
            rows = [Param(metric_name(k), v[:MAX_PARAMETER_LENGTH]) for k, v in self.card.parameters.items()]
            for first in range(0, len(rows), PARAMETERS_PER_CALL):
                batch = rows[first : first + PARAMETERS_PER_CALL]
                self._send_rows(lambda some: client.log_batch(self.mark.run_id, params=some), batch, "a parameter")
            self.mark.parameters_sent = True
            self._keep(self.mark)
        return self.mark.run_id

    def _copy_log(self, client: MlflowClient, run_id: str, name: str) -> None:
        """Send a log's new records, in batches; the mark moves after each."""
        offset = self.mark.offsets.get(name, 0)
        last_steps, validation = dict(self.mark.last_steps), dict(self.mark.validation)
        rows: list[Metric] = []

        def send() -> None:
            for first in range(0, len(rows), METRICS_PER_CALL):
                batch = rows[first : first + METRICS_PER_CALL]
                self._send_rows(lambda some: client.log_batch(run_id, metrics=some), batch, f"a number of {name}")
            rows.clear()
            self.mark.offsets[name], self.mark.last_steps = offset, dict(last_steps)
            self.mark.validation = dict(validation)
            self._keep(self.mark)

        for reached, record in records_from(self.folder / name, offset):
            if len(rows) >= METRICS_PER_CALL:
                send()
            values = fresh(with_derived(record, validation), last_steps)
            stamp, step = round(record["time"] * 1000), int(record["step"])
            rows += [Metric(key, value, stamp, step) for key, value in values.items()]
            offset = reached
        if offset != self.mark.offsets.get(name, 0):
            send()

    def _empty_outbox(self, client: MlflowClient, run_id: str) -> None:
        for offset, entry in Outbox(self.folder).entries(self.mark.offsets.get(OUTBOX, 0)):
            self._send(partial(_deliver, client, run_id, entry), f"{entry['kind']} of the outbox")
            self.mark.offsets[OUTBOX] = offset
            self._keep(self.mark)

    def _send_rows(self, call: Callable[[list[Any]], Any], rows: list[Any], what: str) -> None:
        """Send rows in one call; where the server refuses them, in halves: one bad row takes no other with it."""
        try:
            call(rows)
        except MlflowException as error:
            if not is_refusal(error):
                raise
            if len(rows) == 1:
                self._note_refusal(f"{what}, {rows[0].key}", error)
                return
            for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                self._send_rows(call, half, what)

    def _send(self, call: Callable[[], Any], what: str) -> None:
        """Call the server; what it will never take is noted and passed over, so that the rest goes on."""
        try:
            call()
        except (MlflowException, FileNotFoundError) as error:
            if isinstance(error, MlflowException) and not is_refusal(error):
                raise
            self._note_refusal(what, error)

    def _note_refusal(self, what: str, error: Exception) -> None:
        self.mark.num_refused += 1
        log.warning("%s: MLflow refused %s (%s); it stays on disk", self.folder, what, error)

    def _keep(self, mark: Mark) -> None:
        self.mark = mark
        write_mark(self.folder, self.uri, mark)


def _deliver(client: MlflowClient, run_id: str, entry: dict[str, Any]) -> None:
    stamp = round(entry["time"] * 1000)
    match entry["kind"]:
        case "tags":
            tags = [RunTag(key, str(value)[:MAX_TAG_LENGTH]) for key, value in entry["values"].items()]
            client.log_batch(run_id, tags=tags)
        case "metrics":
            rows = [Metric(metric_name(k), float(v), stamp, entry["step"]) for k, v in entry["values"].items()]
            for first in range(0, len(rows), METRICS_PER_CALL):
                client.log_batch(run_id, metrics=rows[first : first + METRICS_PER_CALL])
        case "file":
            _upload(client, run_id, Path(entry["path"]), entry["place"])
        case "version":
            _register(client, run_id, entry["model"], Path(entry["path"]))
        case "status" if entry["status"] == "RUNNING":
            client.update_run(run_id, status="RUNNING")
        case "status":
            client.set_terminated(run_id, entry["status"], end_time=stamp)


def _upload(client: MlflowClient, run_id: str, path: Path, place: str) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path} is gone")
    (client.log_artifacts if path.is_dir() else client.log_artifact)(run_id, str(path), place)


def _register(client: MlflowClient, run_id: str, model: str, folder: Path) -> None:
    """Make the folder's files, as they are, a version of a model: safetensors and JSON, nothing to unpickle."""
    place = f"model/{folder.name}"
    _upload(client, run_id, folder, place)
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
    same = client.search_model_versions(f"run_id = '{run_id}'")
    if any(version.name == model and version.source == source for version in same):
        return
    tags = {"format": "eventsam checkpoint (safetensors, JSON)", "checkpoint": str(folder)}
    client.create_model_version(model, source=source, run_id=run_id, tags=tags, await_creation_for=0)


def _moved(card: RunCard, uri: str) -> RunCard:
    return RunCard(**{**vars(card), "uri": uri, "artifacts": None})
