"""The MLflow server, or database, at the other end: reached without long waits, runs found or created."""

import fcntl
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from eventsam.tracking.card import FOLDER, RunCard, masked, read_card

PROBE_TIMEOUT_S = 3.0
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")
_creating = threading.Lock()

# A new store is no news for a person who trains.
for _name in ("mlflow.store.db", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class ServerAwayError(ConnectionError, ValueError):
    """Nobody answers at the tracking URI; a person can mend that."""


def connect(uri: str) -> MlflowClient:
    """Return a client of a server that answers.

    Raises:
        ServerAwayError: nobody answers within a few seconds, where MLflow's own client would try for minutes.
    """
    if uri.startswith(("http://", "https://")):
        try:
            requests.get(uri.rstrip("/") + "/health", timeout=PROBE_TIMEOUT_S)
        except requests.exceptions.SSLError:
            pass  # MLflow has its own settings for certificates
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            raise ServerAwayError(f"{masked(uri)} does not answer ({type(error).__name__})") from None
    with _creating:
        return _client(uri)


@cache
def _client(uri: str) -> MlflowClient:
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    if uri.startswith("sqlite:///"):
        # The first question creates the tables; two processes that do so at once leave the file broken.
        with _alone(Path(uri.removeprefix("sqlite:///").split("?")[0] + ".lock")):
            client.search_experiments(max_results=1)
    return client


def is_refusal(error: Exception) -> bool:
    """Say whether the server would answer the same however often it is asked."""
    return isinstance(error, MlflowException) and error.error_code in _REFUSALS


def is_unknown_run(error: Exception) -> bool:
    """Say whether the server does not know the run, as after its store was replaced."""
    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def ensure_run(client: MlflowClient, folder: Path, card: RunCard) -> str:
    """Return the id of a card's run: found by its key, else created, under its parent where it has one."""
    experiment_id = _experiment(client, card)
    with _alone(folder / FOLDER / "create.lock"):
        found = find_run(client, experiment_id, card.key)
        if found is not None:
            return found
        tags = {**card.tags, "mlflow.runName": card.name, "resume_key": card.key}
        parent = _parent(client, experiment_id, card)
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        run = client.create_run(experiment_id, start_time=round(card.started * 1000), tags=tags)
    return str(run.info.run_id)


def find_run(client: MlflowClient, experiment_id: str, key: str) -> str | None:
    """Return the id of the run with a `resume_key`, None if there is none."""
    quote = '"' if "'" in key else "'"
    found = client.search_runs([experiment_id], f"tags.resume_key = {quote}{key}{quote}", max_results=1)
    return str(found[0].info.run_id) if found else None


def _parent(client: MlflowClient, experiment_id: str, card: RunCard) -> str | None:
    if card.parent is None:
        return None
    found = find_run(client, experiment_id, card.parent)
    if found is None and card.parent_folder is not None:
        folder = Path(card.parent_folder)
        parent = read_card(folder)
        if parent is not None:
            return ensure_run(client, folder, parent)
    return found or card.parent


def _experiment(client: MlflowClient, card: RunCard) -> str:
    found = client.get_experiment_by_name(card.experiment)
    if found is None:
        try:
            return str(client.create_experiment(card.experiment, artifact_location=card.artifacts))
        except MlflowException as error:
            found = client.get_experiment_by_name(card.experiment)
            if found is None:
                raise error
    if found.lifecycle_stage != "active":
        raise MlflowException(f"experiment {card.experiment!r} was deleted: restore it, or choose another --experiment")
    return str(found.experiment_id)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Do something once for all processes that share a file system."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
