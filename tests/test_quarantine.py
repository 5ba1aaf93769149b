"""Bad samples: really damaged shards, stand-ins that depend on nothing but the order, counts, shares and lists."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged_shards import damage_image
from tests_support import render_small

from datasets_catalog.synthetic import DATASET
from eventsam import quarantine
from eventsam.catalog import open_catalog
from eventsam.final_error import read_final_error
from eventsam.loading import Data, Loader, make_loader
from eventsam.order import Layout
from eventsam.quarantine import Quarantine, SampleError, TooManyBadSamplesError
from eventsam.representations.tencode import Tencode
from eventsam.windows import Window


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("whole"), 4)


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """The same catalog with one unreadable blurry image."""
    root = tmp_path / "damaged"
    shutil.copytree(whole, root)
    row = loader(root).catalog.row(0)
    damage_image(root / row["shard"], 0, 1)
    return root


def loader(root: Path, run: Path | None = None, max_share: float = 0.5, training: bool = True) -> Loader:
    data = Data(
        "synthetic", str(root), Window(10.0), Tencode(), max_bad_share=max_share, validation_split="train",
        where={"blur": ("easy", "medium", "hard")},
    )  # fmt: skip
    made = make_loader(
        DATASET, open_catalog(DATASET, root), data, ("rgb_blurry", "occupancy"), seed=3, training=training
    )
    if run is None:
        return made
    return Loader(**{**vars(made), "quarantine": Quarantine(run, max_share)})


def ids(made: Loader, positions: np.ndarray) -> list[str]:
    return [made.catalog.row(int(row))["sample_id"] for row in made.batch(positions)["sample_index"]]


def bad_samples(made: Loader) -> set[str]:
    """Which samples cannot be read, found by trying them all."""
    found = set()
    for row in range(made.order.num_samples):
        try:
            made.sample(row, 0)
        except SampleError as error:
            found.add(error.sample_id)
    return found


def test_by_default_the_run_stops_and_names_the_sample(damaged: Path, tmp_path: Path) -> None:
    strict = loader(damaged, tmp_path / "run", max_share=0.0)
    (bad,) = bad_samples(strict)
    with pytest.raises(SampleError, match=f"sample '{bad}' of .*damaged"):
        strict.batch(np.arange(strict.order.num_samples, dtype=np.int64))
    told = read_final_error(tmp_path / "run")
    assert told is not None
    assert bad in told[1] and "data.max_bad_share" in told[1]


def test_a_stand_in_is_written_down_with_id_and_reason(damaged: Path, whole: Path, tmp_path: Path) -> None:
    made = loader(damaged, tmp_path / "run")
    (bad,) = bad_samples(made)
    epoch = np.arange(made.order.num_samples, dtype=np.int64)
    calm, shown = ids(loader(whole), epoch), ids(made, epoch)
    (place,) = [index for index, (one, other) in enumerate(zip(calm, shown, strict=True)) if one != other]
    assert calm[place] == bad
    assert bad not in shown
    (entry,) = quarantine.read_entries(tmp_path / "run")
    assert (entry.selection, entry.position, entry.sample_id) == ("training", place, bad)
    assert "read" in entry.reason or "filter" in entry.reason
    assert made.catalog.row(entry.stand_in)["sample_id"] == shown[place]


def test_any_number_of_workers_and_any_order_of_reading_gives_the_same_batches(damaged: Path, tmp_path: Path) -> None:
    size = loader(damaged).order.num_samples
    size -= size % 4
    seen = []
    for num_workers in (1, 2, 4):
        made = loader(damaged, tmp_path / f"run{num_workers}")
        layout = Layout(0, 2 * size, 4, num_workers, 3)
        by_position: dict[int, int] = {}
        # Blocks are read in another order each time, as readers that race would.
        for block in np.random.default_rng(num_workers).permutation(layout.num_blocks):
            batch = made.batch(layout.positions(int(block)))
            by_position |= dict(zip(batch["position"].tolist(), batch["sample_index"].tolist(), strict=True))
        seen.append(by_position)
    assert seen[0] == seen[1] == seen[2]


def test_what_filled_a_place_fills_it_when_the_step_is_redone(damaged: Path, whole: Path, tmp_path: Path) -> None:
    made = loader(damaged, tmp_path / "run")
    positions = np.arange(2 * made.order.num_samples, dtype=np.int64)
    first_epoch, second_epoch = np.split(positions, 2)
    before = ids(made, first_epoch)
    # The disk recovers: the places already filled stay as they were, later ones get the sample itself.
    mended = Loader(**{**vars(loader(whole)), "quarantine": made.quarantine})
    assert ids(mended, first_epoch) == before
    assert ids(mended, second_epoch) == ids(loader(whole), second_epoch)


def test_past_the_share_the_run_stops_with_counts_and_a_list(whole: Path, tmp_path: Path) -> None:
    root, run = tmp_path / "worse", tmp_path / "run"
    shutil.copytree(whole, root)
    rows = loader(root).catalog.table
    for shard in set(rows["shard"].to_pylist()):
        damage_image(root / shard, 0, 1)
    made = loader(root, run, max_share=1.5 / made_size(root))
    with pytest.raises(
        TooManyBadSamplesError, match=r"2 of \d+ training samples are bad.*procedural-.*quarantine.json"
    ):
        made.batch(np.arange(made.order.num_samples, dtype=np.int64))
    assert len(json.loads((run / "quarantine.json").read_text())["samples"]) == 2
    told = read_final_error(run)
    assert told is not None
    assert "2 of" in told[1]


def made_size(root: Path) -> int:
    return loader(root).order.num_samples


def test_a_list_beside_the_catalog_leaves_samples_out_and_changes_the_hash(damaged: Path, tmp_path: Path) -> None:
    made = loader(damaged, tmp_path / "run")
    size = made.order.num_samples
    made.batch(np.arange(size, dtype=np.int64))
    assert quarantine.write_summary(tmp_path / "run") == 1
    shutil.copy(tmp_path / "run" / "quarantine.json", damaged / "quarantine.json")
    without = loader(damaged, max_share=0.0)
    assert without.order.num_samples == size - 1
    assert without.catalog.hash != made.catalog.hash
    assert len(ids(without, np.arange(size - 1, dtype=np.int64))) == size - 1


def test_a_validation_counts_only_what_can_be_read(damaged: Path, tmp_path: Path) -> None:
    made = loader(damaged, tmp_path / "run", training=False)
    (bad,) = bad_samples(made)
    everything = np.arange(made.order.num_samples, dtype=np.int64)
    shown = ids(made, everything)
    assert set(shown) == set(made.catalog.table["sample_id"].to_pylist()) - {bad}
    assert quarantine.counts(tmp_path / "run") == {"validation": 1}


def test_torn_lists_and_impossible_shares_are_refused(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "listed"
    shutil.copytree(whole, root)
    (root / "quarantine.json").write_text('{"version": 1, "samples": [{"name": "x"}]}')
    with pytest.raises(ValueError, match=r"quarantine.json is no list of bad samples: 'sample_id'"):
        loader(root)
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"max_bad_share is .*, allowed: 0 to below 1"):
            Data("synthetic", str(root), Window(10.0), Tencode(), max_bad_share=share)


def test_half_a_line_of_a_killed_reader_is_no_entry(damaged: Path, tmp_path: Path) -> None:
    made = loader(damaged, tmp_path / "run")
    made.batch(np.arange(made.order.num_samples, dtype=np.int64))
    (path,) = (tmp_path / "run" / "quarantine").iterdir()
    path.write_bytes(path.read_bytes() + b'{"selection": "train')
    assert len(quarantine.read_entries(tmp_path / "run")) == 1
