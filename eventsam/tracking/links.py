"""Where a run's checkpoints lie, as tags of its MLflow run: the weights themselves stay in the run's own storage."""

from pathlib import Path

from eventsam import checkpoint


def checkpoint_links(folder: Path) -> dict[str, str]:
    """Return the tags that lead to a run's checkpoints: `checkpoint` is the last one, `checkpoint.best` the best."""
    root = folder / "checkpoints"
    if not root.is_dir():
        return {}
    storage = checkpoint.open_storage(checkpoint.place(root), root)
    last, best = storage.newest(), storage.best()
    if last is None:
        return {}
    state = storage.state(last)
    return {
        "checkpoint": f"{storage.location}/{last}",
        "checkpoint.best": f"{storage.location}/{best or last}",
        "checkpoint.step": str(state.step),
        "catalog_hash": state.catalog_hash,
    }
