"""The synthetic dataset: its index, its samples and what it says about faulty shards."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from datasets_catalog.synthetic import DATASET
from eventsam.dataset import INDEX_COLUMNS, Dataset
from eventsam.sample import check_sample
from eventsam.simulate.objects import render_object, shard_path
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.sources import procedural_sources

SETTINGS = RenderSettings(
    num_frames=62, samples_per_trajectory=2, split_fractions=(0.5, 0.25, 0.25), background="colour"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("catalog")
    for object_id, source in procedural_sources(5).items():
        render_object(object_id, source, SETTINGS, shard_path(root, object_id))
    return root


def test_index_has_the_agreed_columns_and_one_split_per_object(root: Path) -> None:
    dataset: Dataset = DATASET
    table = dataset.index(root)
    for name, kind in INDEX_COLUMNS.items():
        assert table.schema.field(name).type == kind
    assert table.num_rows == 5 * 2 * 3
    rows = table.to_pylist()
    assert len({row["sample_id"] for row in rows}) == len(rows)
    assert len({(row["object_id"], row["split"]) for row in rows}) == 5
    assert {row["split"] for row in rows} == set(dataset.splits)
    assert rows == dataset.index(root).to_pylist()


def test_samples_keep_the_contract(root: Path) -> None:
    keys = [key for key in DATASET.provides if key != "events"]
    for row in DATASET.index(root).to_pylist():
        sample = DATASET.read(root, row, keys)
        assert list(sample) == keys
        check_sample(sample, row["sample_id"])
        assert sample["rgb"].shape == (3, 64, 64) and sample["occupancy"].shape == (64, 64, 64)
        assert set(np.unique(sample["mask"])) == {0, 1}
        start, stop = row["exposure_start_us"], row["exposure_end_us"]
        assert len(DATASET.events(root, row, start, stop)) == row["num_events"]
        assert start <= row["t_us"] < stop


def test_geometry_of_a_sample_is_consistent(root: Path) -> None:
    for row in DATASET.index(root).to_pylist()[::3]:
        sample = DATASET.read(root, row, ("mask", "pointmap", "pose", "occupancy"))
        seen = sample["mask"][0] == 1
        np.testing.assert_array_equal(np.isfinite(sample["pointmap"][0]), seen)
        pose = sample["pose"].astype(np.float64)
        points = (sample["pointmap"][:, seen].T - pose[:3, 3]) @ pose[:3, :3]
        # Every visible point lies next to a filled voxel.
        place = np.clip(((points + 0.5) * 64).astype(int), 1, 62)
        near = np.zeros(len(place), bool)
        for shift in np.ndindex(3, 3, 3):
            near |= sample["occupancy"][tuple((place + np.array(shift) - 1).T)]
        assert near.mean() > 0.98


def test_blur_grows_and_edi_sharpens(root: Path) -> None:
    errors: dict[str, list[tuple[float, float]]] = {"easy": [], "medium": [], "hard": []}
    for row in DATASET.index(root).to_pylist():
        sample = {
            key: value.astype(float) for key, value in DATASET.read(root, row, ("rgb", "rgb_blurry", "rgb_edi")).items()
        }
        blurry, edi = (((sample[key] - sample["rgb"]) ** 2).mean() for key in ("rgb_blurry", "rgb_edi"))
        errors[row["blur"]].append((blurry, edi))
    means = {blur: np.mean(values, axis=0) for blur, values in errors.items()}
    assert means["easy"][0] < means["medium"][0] < means["hard"][0]
    assert means["hard"][1] < 0.6 * means["hard"][0]


def test_keys_that_are_not_provided_are_refused(root: Path) -> None:
    row = DATASET.index(root).to_pylist()[0]
    with pytest.raises(KeyError, match="did you mean 'rgb'"):
        DATASET.read(root, row, ("rgbb",))
    with pytest.raises(KeyError, match="does not provide 'event_image'"):
        DATASET.read(root, row, ("event_image",))
    with pytest.raises(ValueError, match="extreme"):
        DATASET.read(root, {**row, "blur": "extreme"}, ("rgb",))


def test_faulty_shards_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no shard"):
        DATASET.index(tmp_path)
    copy = tmp_path / "catalog"
    shutil.copytree(root, copy)
    row = DATASET.index(copy).to_pylist()[0]
    path = copy / row["shard"]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for call in (lambda: DATASET.index(copy), lambda: DATASET.read(copy, row, ("rgb",))):
        with pytest.raises(ValueError, match=rf"{path.name}.*cut short"):
            call()
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(ValueError, match="schema version is 99"):
        DATASET.index(copy)
    path.unlink()
    with pytest.raises(ValueError, match=rf"{path.name}: no such shard"):
        DATASET.read(copy, row, ("rgb",))


def test_shard_that_was_rendered_anew_is_read_anew(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "catalog"
    shutil.copytree(root, copy)
    row = DATASET.index(copy).to_pylist()[0]
    before = DATASET.read(copy, row, ("rgb",))["rgb"]
    source = procedural_sources(1)[row["object_id"]]
    other = RenderSettings(**{**vars(SETTINGS), "seed": 5})
    render_object(row["object_id"], source, other, copy / row["shard"])
    assert not np.array_equal(before, DATASET.read(copy, row, ("rgb",))["rgb"])
