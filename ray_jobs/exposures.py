"""Held-out objects at any exposure time: rendered again with all else as it was."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_catalog.synthetic import DATASET
from eventsam.catalog import Catalog
from eventsam.simulate.blur import exposure_level
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.shard import Shard
from eventsam.simulate.sources import ObjectSource, ProceduralSource
from ray_jobs.render import render_catalog


def render_exposures(catalog: Catalog, split: str, milliseconds: Sequence[float], folder: Path) -> Path:
    """Render a split's objects at the given exposure times into `folder` and return it; what is there is kept.

    Objects, camera paths, light, sensor and target frames are those of the catalog: only the exposures differ.

    Raises:
        ValueError: the catalog was not rendered, or from mesh files, whose place it does not tell; or the paths are too
            short for an exposure.
    """
    if catalog.dataset != DATASET.name or "settings" not in catalog.details:
        raise ValueError(f"{catalog.root} was not rendered here: its own exposures are all there are")
    settings = RenderSettings.from_json(catalog.details["settings"])
    levels = tuple(exposure_level(value) for value in sorted(milliseconds))
    settings_at = dataclasses.replace(settings, blur_levels=levels)
    if settings_at.target_frames() != settings.target_frames():
        longest = 2 * settings.margin_frames * settings.frame_interval_us / 1000
        raise ValueError(f"exposures up to {longest:g} ms keep the catalog's target frames, got {', '.join(levels)}")
    sources = {
        object_id: _source(catalog.root / shard, object_id, split) for object_id, shard in _shards(catalog, split)
    }
    render_catalog(folder, sources, settings_at)
    return folder


def _shards(catalog: Catalog, split: str) -> list[tuple[str, str]]:
    table = catalog.select(split).table
    pairs = zip(table["object_id"].to_pylist(), table["shard"].to_pylist(), strict=True)
    return sorted(set(pairs))


def _source(path: Path, object_id: str, split: str) -> ObjectSource:
    shard = Shard(path)
    try:
        words: dict[str, Any] = json.loads(shard.attribute("source"))
    finally:
        shard.close()
    if words["kind"] != "procedural":
        raise ValueError(
            f"{object_id} was made from the mesh file {words.get('file')}, whose folder the catalog does not tell: "
            "render a catalog with other blur levels instead"
        )
    return ProceduralSource(words["index"], words["family"], split)
