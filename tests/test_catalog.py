"""Catalogs: sealed, selected, and refused where they are not whole."""

import json
from pathlib import Path

import pytest
from tests_support import render_small

from datasets_catalog import load_dataset
from datasets_catalog.synthetic import DATASET
from eventsam.catalog import open_catalog, table_hash, write_catalog


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("catalog"), num_objects=6)


def copied(root: Path, target: Path) -> Path:
    """Copy a catalog to spoil it."""
    for path in root.rglob("*"):
        if path.is_file():
            (target / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(root)).write_bytes(path.read_bytes())
    return target


def test_a_written_catalog_opens_with_the_same_hash(root: Path) -> None:
    catalog = open_catalog(DATASET, root)
    assert catalog.hash == table_hash(DATASET.index(root))
    assert catalog.details["num_samples"] == catalog.table.num_rows
    assert catalog.details["licence"] == DATASET.licence


def test_a_folder_without_catalog_is_indexed(root: Path, tmp_path: Path) -> None:
    bare = copied(root, tmp_path)
    (bare / "catalog.json").unlink()
    assert open_catalog(DATASET, bare).hash == open_catalog(DATASET, root).hash


def test_selection_keeps_rows_and_changes_the_hash(root: Path) -> None:
    catalog = open_catalog(DATASET, root)
    hard = catalog.select("train", {"blur": ("hard",)})
    assert set(hard.table["blur"].to_pylist()) == {"hard"}
    assert set(hard.table["split"].to_pylist()) == {"train"}
    assert hard.hash != catalog.select("train").hash


def test_no_object_is_in_two_splits(root: Path) -> None:
    table = open_catalog(DATASET, root).table
    pairs = set(zip(table["object_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert len(pairs) == len({name for name, _ in pairs})


def test_missing_shard_is_named(root: Path, tmp_path: Path) -> None:
    spoilt = copied(root, tmp_path)
    victim = sorted((spoilt / "shards").glob("*.h5"))[2]
    victim.unlink()
    with pytest.raises(ValueError, match=f"missing: shards/{victim.name}"):
        open_catalog(DATASET, spoilt)


def test_truncated_shard_is_named(root: Path, tmp_path: Path) -> None:
    spoilt = copied(root, tmp_path)
    victim = sorted((spoilt / "shards").glob("*.h5"))[0]
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"another size than recorded: shards/{victim.name}"):
        open_catalog(DATASET, spoilt)


def test_wrong_schema_version_says_both(root: Path, tmp_path: Path) -> None:
    spoilt = copied(root, tmp_path)
    record = json.loads((spoilt / "catalog.json").read_text()) | {"schema_version": 99}
    (spoilt / "catalog.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="schema version 99, this release reads 1"):
        open_catalog(DATASET, spoilt)


def test_changed_index_is_noticed(root: Path, tmp_path: Path) -> None:
    spoilt = copied(root, tmp_path)
    record = json.loads((spoilt / "catalog.json").read_text()) | {"hash": "0" * 64}
    (spoilt / "catalog.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="does not match the hash"):
        open_catalog(DATASET, spoilt)


def test_catalog_of_another_dataset_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="a catalog of 'synthetic', not of 'davis'"):
        open_catalog(load_dataset("davis"), root)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_catalog(DATASET, tmp_path / "nowhere")


@pytest.mark.parametrize(("split", "where"), [("tst", None), ("train", {"blur": ("harsh",)})])
def test_unknown_values_list_what_there_is(root: Path, split: str, where: dict[str, tuple[str, ...]] | None) -> None:
    with pytest.raises(ValueError, match="there are"):
        open_catalog(DATASET, root).select(split, where)


def test_unknown_column_names_the_nearest(root: Path) -> None:
    with pytest.raises(KeyError, match="did you mean 'blur'"):
        open_catalog(DATASET, root).select("train", {"blurr": ("hard",)})


def test_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'synthetic'"):
        load_dataset("sinthetic")


def test_writing_again_gives_the_same_hash(root: Path) -> None:
    before = open_catalog(DATASET, root)
    assert write_catalog(DATASET, root, {}).hash == before.hash
