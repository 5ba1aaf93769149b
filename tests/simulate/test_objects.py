"""Rendering one object into a shard: whole or absent, repeatable, resumable, and clear about failures."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from eventsam.events import Events
from eventsam.simulate.objects import is_complete, render_object, shard_path
from eventsam.simulate.render import RaycastRenderer, Rendering
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.shard import Shard, pack_events, unpack_events
from eventsam.simulate.solids import box
from eventsam.simulate.sources import MeshSource, ProceduralSource, mesh_sources, procedural_sources

SETTINGS = RenderSettings(
    height=32, width=40, num_frames=62, samples_per_trajectory=2, trajectories_per_object=2, occupancy_resolution=32
)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    path = shard_path(tmp_path_factory.mktemp("catalog"), "mug")
    render_object("mug", ProceduralSource(3, "mug"), SETTINGS, path)
    return Shard(path)


def test_shard_holds_every_sample(shard: Shard) -> None:
    assert shard.samples.shape == (2 * 2 * 3, 8)
    assert shard.size == (32, 40)
    assert json.loads(shard.attribute("source"))["family"] == "mug"
    assert shard.attribute("split") == SETTINGS.split_of(3)
    assert len(json.loads(shard.attribute("details"))) == 2
    assert RenderSettings.from_json(shard.settings) == SETTINGS
    for place in range(4):
        assert shard.image(place, 3).shape == (3, 32, 40)
        assert shard.mask(place, 0).any() and shard.mask(place, 3).any()
        # Half precision keeps a millimetre on an object of one metre.
        assert np.isfinite(shard.pointmap(place)[:, shard.mask(place, 0)[0] == 1]).all()
    assert shard.occupancy().shape == (32, 32, 32)


def test_exposures_and_event_counts_agree_with_the_stream(shard: Shard) -> None:
    for _, trajectory, frame, level, t_us, start, stop, num_events in shard.samples:
        assert t_us == frame * 1000 and (start + stop) // 2 == t_us
        assert stop - start == (10_000, 20_000, 40_000)[level]
        assert len(shard.events(int(trajectory), int(start), int(stop))) == num_events > 0


def test_windows_of_any_place_are_cut_exactly(shard: Shard) -> None:
    for trajectory in (0, 1):
        whole = shard.events(trajectory, 0, 10**9)
        assert len(whole) > 100
        for t0, t1 in ((0, 1), (1234, 5678), (-500, 10), (61_000, 70_000), (20_000, 20_000), (5 * 10**6, 6 * 10**6)):
            cut = shard.events(trajectory, t0, t1)
            expected = whole.between(t0, t1)
            for name in ("x", "y", "t", "p"):
                np.testing.assert_array_equal(getattr(cut, name), getattr(expected, name))
    with pytest.raises(ValueError, match="after it starts"):
        shard.events(0, 5, 4)


def test_trajectories_differ_and_other_places_are_refused(shard: Shard) -> None:
    assert not np.array_equal(shard.image(0, 0), shard.image(2, 0))
    with pytest.raises(ValueError, match="target frame 3"):
        shard.place(0, 3)


def test_rendering_is_a_pure_function(tmp_path: Path, shard: Shard) -> None:
    again_path, other_path = tmp_path / "again.h5", tmp_path / "other.h5"
    render_object("mug", ProceduralSource(3, "mug"), SETTINGS, again_path)
    render_object("jug", ProceduralSource(3, "mug"), SETTINGS, other_path)
    with h5py.File(shard.path) as first, h5py.File(again_path) as again, h5py.File(other_path) as other:
        for name in first:
            np.testing.assert_array_equal(first[name][...], again[name][...])
        assert dict(first.attrs) == dict(again.attrs)
        assert not np.array_equal(first["occupancy"][...], other["occupancy"][...])


def test_finished_shards_are_recognised(tmp_path: Path, shard: Shard) -> None:
    assert is_complete(shard.path, SETTINGS)
    assert is_complete(shard.path, SETTINGS, "mug", ProceduralSource(3, "mug"))
    assert not is_complete(shard.path, SETTINGS, "mug", ProceduralSource(4, "mug"))
    assert not is_complete(shard.path, SETTINGS, "mug", ProceduralSource(3, "mug", split="test"))
    assert not is_complete(shard.path, SETTINGS, "jug")
    assert not is_complete(shard.path, dataclasses.replace(SETTINGS, seed=1))
    assert not is_complete(tmp_path / "absent.h5", SETTINGS)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(shard.path.read_bytes()[:-1000])
    assert not is_complete(cut, SETTINGS)


class _Interrupted(RaycastRenderer):
    def render(self, *arguments: object) -> Rendering:
        raise KeyboardInterrupt


def test_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    path = shard_path(tmp_path, "mug")
    with pytest.raises(KeyboardInterrupt):
        render_object("mug", ProceduralSource(0), SETTINGS, path, _Interrupted(32, 40))
    assert not path.exists() and not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"fill": (1.2, 1.3)}, "leaves the 32x40 image"),
        ({"radius": (40, 41), "shake_deg": (0, 0), "fill": (0.01, 0.02)}, "empty mask"),
    ],
)
def test_object_that_does_not_fit_is_named(
    tmp_path: Path, ranges: dict[str, tuple[float, float]], message: str
) -> None:
    settings = dataclasses.replace(SETTINGS, trajectory=dataclasses.replace(SETTINGS.trajectory, **ranges))
    with pytest.raises(ValueError, match=rf"object mug, trajectory 0, frame \d+: .*{message}"):
        render_object("mug", ProceduralSource(0, "mug"), settings, tmp_path / "mug.h5")
    assert not (tmp_path / "mug.h5").exists()


def test_photo_background_and_mesh_file(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "meshes" / "a b").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photos" / "wall.png")
    solid = box([1, 2, 3])
    lines = [f"v {x} {y} {z}" for x, y, z in solid.vertices] + [f"f {a} {b} {c}" for a, b, c in solid.faces + 1]
    (tmp_path / "meshes" / "a b" / "block.obj").write_text("\n".join(lines))
    settings = dataclasses.replace(SETTINGS, background="photo", background_folder=str(tmp_path / "photos"))
    sources = mesh_sources(tmp_path / "meshes", up="y", z_up=("a b/*",))
    assert sources == {"a_b-block": MeshSource(0, tmp_path / "meshes" / "a b" / "block.obj", "z")}
    render_object("a_b-block", sources["a_b-block"], settings, tmp_path / "block.h5")
    shard = Shard(tmp_path / "block.h5")
    filled = np.argwhere(shard.occupancy())
    np.testing.assert_array_less(np.ptp(filled, axis=0)[:2], np.ptp(filled, axis=0)[2])
    details = json.loads(shard.attribute("details"))
    assert details[0]["background"]["file"] == "wall.png"
    assert len(json.loads(shard.attribute("source"))["sha256"]) == 64


def test_sources_are_listed_or_refused(tmp_path: Path) -> None:
    assert list(procedural_sources(2)) == ["procedural-00000", "procedural-00001"]
    with pytest.raises(ValueError, match="holds no mesh"):
        mesh_sources(tmp_path)
    for name in ("a-b.off", "a_b.off"):
        (tmp_path / name).touch()
    assert set(mesh_sources(tmp_path)) == {"a-b", "a_b"}
    (tmp_path / "a-b.stl").touch()
    with pytest.raises(ValueError, match="taken"):
        mesh_sources(tmp_path)
    with pytest.raises(ValueError, match="gone"):
        MeshSource(0, tmp_path / "gone.off").to_json()


def test_event_words_keep_the_largest_values() -> None:
    events = Events.from_arrays([0, 65535], [0, 32767], [0, 2**32 - 1], [0, 1], height=32768, width=65536)
    again = unpack_events(pack_events(events), 32768, 65536)
    for name in ("x", "y", "t", "p"):
        np.testing.assert_array_equal(getattr(again, name), getattr(events, name))


def test_split_of_a_source_overrules_the_shares(tmp_path: Path) -> None:
    render_object("mug", ProceduralSource(3, "mug", split="test"), SETTINGS, tmp_path / "mug.h5")
    assert Shard(tmp_path / "mug.h5").attribute("split") == "test"
    with pytest.raises(ValueError, match=r"object mug: unknown split 'exam'"):
        render_object("mug", ProceduralSource(3, "mug", split="exam"), SETTINGS, tmp_path / "mug.h5")
