"""A sweep in MLflow: a parent run with the report, a child run per trial; a slow or absent server holds up no trial."""

import dataclasses
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from eventsam.metrics_log import MetricsLog
from eventsam.recipe import recipe_hash
from eventsam.spec import flatten
from eventsam.tracking.mark import waiting
from eventsam.tracking.mirror import MlflowMirror
from eventsam.tracking.outbox import Outbox, Status
from eventsam.tracking.parameters import changes_of, note_of, parameters_of
from ray_jobs.sweep_plan import Plan
from ray_jobs.sweep_store import ENDED, FAILED, SweepFolder, TrialState
from ray_jobs.tracked import Tracking

log = logging.getLogger(__name__)

END_S = 60.0


class SweepTracking:
    """Mirrors the folders of a sweep and of its trials; what a server does not take waits there."""

    def __init__(self, tracking: Tracking, plan: Plan, folder: SweepFolder) -> None:
        self.plan, self.folder = plan, folder
        parameters = {"recipe": plan.recipe_name, "space": plan.space.name, **dataclasses.asdict(plan.options)}
        parameters |= {f"space.{key}": row for key, row in plan.space.to_json()["parameters"].items()}
        tags = {"recipe": plan.recipe_name, "recipe_hash": recipe_hash(plan.recipe), "catalog_hash": plan.catalog_hash}
        folder.path.mkdir(parents=True, exist_ok=True)
        self.parent = tracking.open(folder.path, parameters | flatten(plan.recipe), tags)
        self.tracking = dataclasses.replace(tracking.under(self.parent), tags={"sweep": folder.path.name})
        self.children: dict[str, MlflowMirror] = {}
        self.ended_before = [name for name, state in folder.states().items() if state.status in ENDED]
        # The end of a run waits for its server; nobody waits for that but this one thread.
        self._ends = ThreadPoolExecutor(1, "mlflow-ends")

    def start(self, name: str, values: Mapping[str, Any]) -> None:
        """Open a trial's run, or go on with it."""
        if name in self.children:
            return
        recipe, place = self.plan.point(values).recipe, self.folder.trial(name).path
        changes = changes_of(recipe, self.plan.recipe)
        note = note_of(self.plan.recipe_name, changes, {"folder": str(place), "sweep": str(self.folder.path)})
        tags = {"recipe": self.plan.recipe_name, "recipe_hash": recipe_hash(recipe), "mlflow.note.content": note}
        drawn = {f"swept.{key}": value for key, value in values.items() if self.plan.space.matters(key, values)}
        self.children[name] = self.tracking.open(place, parameters_of(recipe, changes) | drawn, tags)

    def end(self, name: str, state: TrialState, best: float | None, num_ended: int) -> None:
        """End a trial's run; the parent learns the best score so far."""
        if best is not None:
            record = {
                "step": float(num_ended),
                "trials_ended": float(num_ended),
                f"best/{self.plan.space.metric}": best,
            }
            MetricsLog(self.folder.path / "metrics.jsonl").append(record)
        self.start(name, state.values)
        mirror = self.children.pop(name)
        mirror.tag({"sweep.status": state.status, "sweep.cause": state.cause})
        status: Status = "FAILED" if state.status == FAILED else "FINISHED"
        self._ends.submit(mirror.finish, status, END_S)

    def finish(self, status: Status, pictures: Mapping[str, bytes], html: Path | None) -> None:
        """Write the report's pictures and page, then the parent's end.

        Trials that had ended when the driver was killed may have told nobody: that is made up for.
        """
        states = self.folder.states()
        for name in self.ended_before:
            place = self.folder.trial(name).path
            if waiting(place, self.parent.uri) or Outbox(place).last_status() not in ("FINISHED", "FAILED"):
                self.end(name, states[name], None, 0)
        for mirror in self.children.values():
            self._ends.submit(mirror.finish, "KILLED", END_S)
        for name, png in pictures.items():
            self.parent.picture(f"{name}.png", png, self.folder.path / "figures")
        if html is not None:
            self.parent.file(html, "report")
        self._ends.shutdown()
        self.parent.finish(status, END_S)
