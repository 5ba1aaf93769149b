"""`eventsam targets` on a real local Ray: resumed after a stop, equal to the model's own answers, read by training."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sam3d_small import MICRO, QUICK, made_model
from tests_support import render_small

from datasets_catalog import load_dataset
from eventsam.catalog import open_catalog
from eventsam.loading import Data, Loader, make_loader
from eventsam.models.sam3d.folder import write_model
from eventsam.order import Order
from eventsam.representations.blank import Blank
from eventsam.spec import spec
from eventsam.targets import RECORD, open_targets, part_path
from eventsam.tasks.sam3d_inputs import Shown
from eventsam.tasks.trained import trained_sam3d
from eventsam.windows import Window
from ray_jobs.targets import Asked, Teacher, make_targets, select_splits


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = made_model(event_channels=None)
    folder = tmp_path_factory.mktemp("model") / "converted"
    parts = {"embedder": model.embedder, "generator": model.generator, "decoder": model.decoder}
    write_model(folder, MICRO, {name: part.state_dict() for name, part in parts.items()})
    return folder


def loader_of(root: Path, asked: Asked) -> Loader:
    dataset = load_dataset("synthetic")
    rows = select_splits(open_catalog(dataset, root), ["train", "val"])
    order = Order(rows.table.num_rows, 0, rows.hash, shuffle=False)
    return Loader(dataset, rows, Data("synthetic", str(root), Window(10.0), Blank()), asked.reads, order, False)


@pytest.mark.timeout(200)
def test_targets_are_made_resumed_and_read(local_ray: None, model_folder: Path, tmp_path: Path) -> None:
    root, out = render_small(tmp_path / "catalog"), tmp_path / "targets"
    asked = Asked(spec(trained_sam3d, checkpoint=str(model_folder)), Shown(), QUICK, rows_per_part=5, batch_size=3)
    loader = loader_of(root, asked)
    make_targets(asked, loader, out, {"steps": 2})
    targets = open_targets(out, open_catalog(load_dataset("synthetic"), root).hash)
    ids = loader.catalog.table["sample_id"].to_pylist()
    first = {name: targets.read(name) for name in ids}

    # A stop before the end: some parts are missing, the folder is not sealed; the others are not made again.
    (out / RECORD).unlink()
    part_path(out, 1).unlink()
    kept = part_path(out, 0).stat().st_mtime_ns
    make_targets(asked, loader, out, {"steps": 2})
    assert part_path(out, 0).stat().st_mtime_ns == kept
    rows = [pq.read_table(path).num_rows for path in sorted(out.glob("part-*.parquet"))]
    assert sum(rows) == len(ids)
    again = open_targets(out, targets.catalog)
    for name in ids:
        for key, array in again.read(name).items():
            np.testing.assert_array_equal(array, first[name][key])

    # The same answers one by one, in this process.
    teacher = Teacher(Asked(asked.model, Shown(), QUICK, batch_size=1), loader, out, "cpu")
    alone = teacher._answer(np.array([2]))
    torch.testing.assert_close(
        torch.from_numpy(alone["target_shape"][0]),
        torch.from_numpy(first[ids[2]]["target_shape"].copy()),
        rtol=1e-4,
        atol=1e-4,
    )

    with pytest.raises(ValueError, match="steps: 2 -> 4"):
        make_targets(asked, loader, out, {"steps": 4})


@pytest.mark.timeout(100)
def test_training_reads_them_and_refuses_augmentation(local_ray: None, model_folder: Path, tmp_path: Path) -> None:
    root, out = render_small(tmp_path / "catalog"), tmp_path / "targets"
    asked = Asked(spec(trained_sam3d, checkpoint=str(model_folder)), Shown(), QUICK, rows_per_part=16)
    make_targets(asked, loader_of(root, asked), out, {})
    dataset = load_dataset("synthetic")
    catalog = open_catalog(dataset, root)
    data = Data("synthetic", str(root), Window(10.0), Blank(), targets=str(out))
    loader = make_loader(dataset, catalog, data, ("target_shape", "target_occupancy", "rgb"), seed=0, training=True)
    batch = loader.batch(np.arange(3))
    assert batch["target_shape"].shape == (3, MICRO.num_shape_tokens, MICRO.latent_channels)
    expected = open_targets(out, catalog.hash).read(loader.catalog.row(int(batch["sample_index"][0]))["sample_id"])
    np.testing.assert_array_equal(batch["target_occupancy"][0], expected["target_occupancy"])

    from eventsam.transforms.flip import HorizontalFlip

    flipped = Data("synthetic", str(root), Window(10.0), Blank(), augment=(HorizontalFlip(),), targets=str(out))
    with pytest.raises(ValueError, match="augment must be empty"):
        make_loader(dataset, catalog, flipped, ("target_shape",), seed=0, training=True)
    unnamed = Data("synthetic", str(root), Window(10.0), Blank())
    with pytest.raises(KeyError, match=r"data\.targets"):
        make_loader(dataset, catalog, unnamed, ("target_shape",), seed=0, training=True)
