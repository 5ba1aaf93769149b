"""Rendering on Ray: whole, resumable, and clear about what cannot be rendered."""

import dataclasses
from pathlib import Path

import pytest
from tests_support import SETTINGS

from datasets_catalog.synthetic import DATASET
from eventsam.catalog import open_catalog
from eventsam.simulate.objects import shard_path
from eventsam.simulate.sources import mesh_sources, procedural_sources
from ray_jobs.render import render_catalog

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def test_rendering_goes_on_where_it_stopped(tmp_path: Path) -> None:
    render_catalog(tmp_path, procedural_sources(5), SETTINGS, progress=False)
    kept, lost = shard_path(tmp_path, "procedural-00001"), shard_path(tmp_path, "procedural-00003")
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.write_bytes(content[:100])
    catalog = render_catalog(tmp_path, procedural_sources(5), SETTINGS, progress=False)
    assert kept.stat().st_mtime_ns == before
    assert catalog.hash == open_catalog(DATASET, tmp_path).hash
    assert catalog.table.num_rows == 5 * 2 * 3
    assert catalog.details["settings"] == SETTINGS.to_json()


def test_other_settings_in_one_folder_are_refused(tmp_path: Path) -> None:
    render_catalog(tmp_path, procedural_sources(2), SETTINGS, progress=False)
    with pytest.raises(ValueError, match=r"begun with other settings .*seed: 0 -> 1"):
        render_catalog(tmp_path, procedural_sources(2), dataclasses.replace(SETTINGS, seed=1), progress=False)


def test_a_faulty_mesh_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    import trimesh

    meshes = tmp_path / "meshes"
    meshes.mkdir()
    trimesh.creation.icosphere().export(meshes / "ball.obj")
    (meshes / "broken.obj").write_text("v 0 0 zero\nf 1 2 3\n")
    with pytest.raises(ValueError, match=r"1 of 2 objects cannot be rendered: .*broken.obj"):
        render_catalog(tmp_path / "out", mesh_sources(meshes), SETTINGS, progress=False)
    assert shard_path(tmp_path / "out", "ball").exists()
