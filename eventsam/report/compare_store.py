"""Runs as an MLflow store tells of them: those of one experiment, read once and compared offline."""

from collections.abc import Mapping

from mlflow.entities import Run

from eventsam.report.compare import ComparedRun, Score, parameters_shown
from eventsam.tracking.server import connect
from eventsam.unknown_name import unknown_name

_HASHES = ("recipe_hash", "catalog_hash", "code_hash", "environment_hash")


def runs_of_experiment(uri: str, name: str) -> list[ComparedRun]:
    """Return the runs of an experiment, sweeps' parents left out.

    Raises:
        KeyError: there is no such experiment; the nearest name is given.
        ServerAwayError: nobody answers at the URI.
        ValueError: the experiment has no runs.
    """
    client = connect(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        known = [found.name for found in client.search_experiments()]
        raise KeyError(unknown_name(f"experiment in {uri}", name, known))
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs}
    found = [_compared(run) for run in runs if run.info.run_id not in parents]
    if not found:
        raise ValueError(f"experiment {name!r} in {uri} has no runs")
    return found


def _compared(run: Run) -> ComparedRun:
    metrics, tags, params = run.data.metrics, run.data.tags, run.data.params
    facts = {name: f"{metrics[name]:.4g}" for name in ("samples_per_s", "data_wait_share") if name in metrics}
    facts |= {name: tags[name][:12] for name in _HASHES if name in tags}
    return ComparedRun(
        name=run.info.run_name or run.info.run_id,
        status=run.info.status.lower(),
        parameters=parameters_shown(params),
        best=_scores(metrics, "best/"),
        last=_scores(metrics, "val/"),
        results=_results(metrics),
        facts=facts,
        monitor=params.get("monitor.metric"),
        lower_is_better=None if "monitor.mode" not in params else params["monitor.mode"] == "min",
    )


def _scores(metrics: Mapping[str, float], kind: str) -> dict[str, Score]:
    return {name.removeprefix(kind): Score(value) for name, value in metrics.items() if name.startswith(kind)}


def _results(metrics: Mapping[str, float]) -> dict[str, Score]:
    """Return the metrics that come with their interval: `NAME`, `NAME/low` and `NAME/high`."""
    return {
        name: Score(value, metrics[f"{name}/low"], metrics[f"{name}/high"])
        for name, value in metrics.items()
        if f"{name}/low" in metrics and f"{name}/high" in metrics
    }
