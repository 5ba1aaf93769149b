"""Render a synthetic catalog on the cluster: one task per object, resumable, the catalog written last."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import ray
from rich.progress import track

from datasets_catalog.synthetic import DATASET
from eventsam.catalog import Catalog, absolute, write_catalog
from eventsam.simulate.objects import is_complete, render_object, shard_path
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.sources import ObjectSource

log = logging.getLogger(__name__)

SETTINGS_FILE = "settings.json"
OBJECTS_PER_TASK = 4


def render_catalog(
    out: Path, sources: Mapping[str, ObjectSource], settings: RenderSettings, *, progress: bool = True
) -> Catalog:
    """Render every object that `out` does not hold yet and write the catalog.

    May be stopped and called again: finished shards are kept.

    Raises:
        ValueError: an object cannot be rendered (the message names it; the others are finished first), or `out` holds
            shards of other settings.
    """
    out = absolute(out)
    out.mkdir(parents=True, exist_ok=True)
    _check_settings(out, settings)
    missing = [name for name in sources if not is_complete(shard_path(out, name), settings)]
    faults: list[str] = []
    finished = _render(out, {name: sources[name] for name in missing}, settings)
    for fault in track(finished, "rendering", total=len(missing), disable=not progress or not missing):
        if fault:
            log.error("%s", fault)
            faults.append(fault)
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(f"{len(faults)} of {len(sources)} objects cannot be rendered: {'; '.join(faults[:5])}{more}")
    stray = {path.stem for path in (out / "shards").glob("*.h5")} - set(sources)
    if stray:
        raise ValueError(f"{out} also holds objects that were not asked for ({', '.join(sorted(stray)[:5])})")
    return write_catalog(DATASET, out, {"settings": settings.to_json(), "settings_hash": settings.content_hash})


def _check_settings(out: Path, settings: RenderSettings) -> None:
    """Refuse to mix settings in one folder: name what differs."""
    path = out / SETTINGS_FILE
    if path.exists():
        before = json.loads(path.read_text())
        changed = [name for name, value in settings.to_json().items() if before.get(name) != value]
        if changed:
            shown = "; ".join(f"{name}: {before.get(name)} -> {settings.to_json()[name]}" for name in changed)
            raise ValueError(f"{out} was begun with other settings ({shown}); choose another folder")
    path.write_text(json.dumps(settings.to_json(), indent=1))


def _render(out: Path, sources: Mapping[str, ObjectSource], settings: RenderSettings) -> Iterator[str | None]:
    """Yield one entry per object as it ends: None, or what is wrong with it."""
    names = list(sources)
    remote = ray.remote(num_cpus=1, max_retries=3)(_render_some)
    groups = [names[i : i + OBJECTS_PER_TASK] for i in range(0, len(names), OBJECTS_PER_TASK)]
    pending = [remote.remote(out, {name: sources[name] for name in group}, settings) for group in groups]
    while pending:
        done, pending = ray.wait(pending, num_returns=1)
        yield from ray.get(done[0])


def _render_some(out: Path, sources: Mapping[str, ObjectSource], settings: RenderSettings) -> list[str | None]:
    faults: list[str | None] = []
    for name, source in sources.items():
        try:
            render_object(name, source, settings, shard_path(out, name))
            faults.append(None)
        except ValueError as error:
            faults.append(str(error))
    return faults
