"""The demo: render objects, train a model's stages and the control, climb the blur ladder, write the report."""

import dataclasses
import json
import logging
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eventsam.catalog import Catalog
from eventsam.metrics_log import MetricsLog
from eventsam.provenance import code_hash, watched_memory
from eventsam.recipe import recipe_hash
from eventsam.report.data import ReportData
from eventsam.report.figures import all_figures
from eventsam.report.html import write_report
from eventsam.report.measured import FILE_NAME, Measured, save_measured
from eventsam.report.storage import save
from eventsam.report.summary import result_json
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.sources import ObjectSource, mesh_sources, procedural_sources
from eventsam.simulate.trajectory import TrajectoryRanges
from eventsam.spec import Spec
from ray_jobs import ladder
from ray_jobs.cluster import Resources, connected
from ray_jobs.demo_models import CONTROL, FUSE, MODELS, Stage
from ray_jobs.evaluate import tables_of
from ray_jobs.render import render_catalog
from ray_jobs.supervise import Tracking, train
from ray_jobs.train import Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemoSize:
    """How much the demo does: objects rendered, and whether each stage sees its full or its quick number of samples."""

    num_objects: int
    quick: bool
    settings: RenderSettings = field(default_factory=lambda: SHAKEN)


SHAKEN = RenderSettings(
    background="colour",
    trajectory=TrajectoryRanges(shake_deg=(4.0, 9.0)),
    split_fractions=(0.82, 0.03, 0.15),
)
"""A hand-held or flying camera: its shake, not the orbit, is what smears the outline."""

FULL = DemoSize(560, quick=False)
QUICK = DemoSize(200, quick=True)


@dataclass(frozen=True)
class Demo:
    """One demo in one folder; what is finished there is not done again."""

    folder: Path
    size: DemoSize
    seed: int
    meshes: Path | None
    z_up: tuple[str, ...]
    resources: Resources
    tracking: Tracking
    stages: Mapping[str, Stage] = field(default_factory=lambda: next(iter(MODELS.values())))
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, command: list[str]) -> ReportData:
        """Do everything and return what the report shows."""
        started = time.perf_counter()
        with watched_memory() as peak, connected(num_cpus=self.resources.logical_cpus):
            self.seconds["start Ray"] = time.perf_counter() - started
            report = self._stages(command)
        return dataclasses.replace(report, peak_memory_bytes=peak.num_bytes)

    def _stages(self, command: list[str]) -> ReportData:
        with self._timed("render"):
            catalog = render_catalog(self.folder / "catalog", self._sources(), self._settings())
        outcomes: dict[str, Outcome] = {}
        for stage in self.stages:
            with self._timed(stage):
                outcomes[stage] = train(self._recipe(stage), self.folder / stage, self.resources, self.tracking)
            if outcomes[stage].status != "finished":
                raise KeyboardInterrupt
        with self._timed("evaluate"):
            held_out = ladder.open_ladder(outcomes[FUSE].best, outcomes[CONTROL].best)
            measured = ladder.measure(held_out, self.folder / "evaluate", self.resources)
            save_measured(measured, self.folder / "report" / FILE_NAME)
        with self._timed("report"):
            report = self._report(command, catalog, held_out, measured)
        return dataclasses.replace(report, seconds=dict(self.seconds))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started

    def _settings(self) -> RenderSettings:
        settings = dataclasses.replace(self.size.settings, seed=self.seed)
        if self.meshes is None:
            return settings
        return dataclasses.replace(settings, split_fractions=(0.9, 0.1, 0.0))

    def _sources(self) -> dict[str, ObjectSource]:
        """Procedural objects; given meshes are all held out, so that the result speaks of objects never seen."""
        sources = procedural_sources(self.size.num_objects)
        if self.meshes is not None:
            sources |= mesh_sources(self.meshes, z_up=self.z_up, split="test")
        return sources

    def _num_samples(self, stage: str) -> int:
        sizes = self.stages[stage]
        return sizes.num_samples_quick if self.size.quick else sizes.num_samples

    def _recipe(self, stage: str) -> Spec:
        return self.stages[stage].stated(self.folder, self.seed, self._num_samples(stage))

    def _report(self, command: list[str], catalog: Catalog, held_out: ladder.Ladder, measured: Measured) -> ReportData:
        recipes = {stage: self._recipe(stage) for stage in self.stages}
        return ReportData(
            title="Event-SAM3D demo",
            subtitle=f"3-D reconstruction from blurry frames and events, seed {self.seed}",
            losses={stage: MetricsLog(self.folder / stage / "metrics.jsonl").read() for stage in self.stages},
            samples=ladder.sample_rows(held_out, measured),
            commands=(shlex.join(command), *self._commands()),
            hashes={"code": code_hash(), "catalog": catalog.hash[:12]}
            | {f"recipe {stage}": recipe_hash(recipe) for stage, recipe in recipes.items()},
            facts=self._facts(catalog, recipes),
            **tables_of(measured),  # type: ignore[arg-type]
        )

    def _facts(self, catalog: Catalog, recipes: Mapping[str, Spec]) -> dict[str, str]:
        splits = catalog.details["num_samples_by_split"]
        return {
            "objects": str(len(set(catalog.table["object_id"].to_pylist()))),
            "samples": ", ".join(f"{split} {count}" for split, count in sorted(splits.items())),
            "samples seen": ", ".join(f"{stage} {self._num_samples(stage)}" for stage in recipes),
            "masks": "all inputs get the box of the mask as the blurry frame shows it",
            "EDI": "given the sensor's nominal threshold",
        }

    def _commands(self) -> list[str]:
        catalog = shlex.quote(str(self.folder / "catalog"))
        uri = self.tracking.uri_in(self.folder)
        return [f"eventsam catalog show synthetic {catalog}", f"mlflow ui --backend-store-uri {uri}"]


def write_results(folder: Path, report: ReportData, tracking: Tracking, json_file: Path | None) -> Path:
    """Write the report, its data and the JSON; mirror figures and numbers to MLflow; return the HTML's path."""
    html = folder / "report.html"
    write_report(html, report)
    save(report, folder / "report")
    text = json.dumps(result_json(report), indent=1)
    (folder / "result.json").write_text(text)
    if json_file is not None:
        json_file.write_text(text)
    mirror = tracking.open(folder / "results", {}, dict(report.hashes))
    status = "FAILED"
    try:
        for name, png in all_figures(report).items():
            mirror.picture(f"{name}.png", png, folder / "figures")
        mirror.metrics(
            {
                f"{row.input}/{row.blur}/{row.metric}{bound}": value
                for row in report.rows
                for bound, value in (("", row.mean), ("/low", row.low), ("/high", row.high))
            }
        )
        mirror.artifacts(folder / "report", "report")
        mirror.file(html, "report")
        status = "FINISHED"
    finally:
        mirror.finish(status)
    return html
