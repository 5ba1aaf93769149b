"""From what a person writes to a storage: a folder, a shared path, or a URL; and where a run's checkpoints lie."""

import json
import logging
from pathlib import Path

from eventsam.checkpoint.local import LocalStorage, damage
from eventsam.checkpoint.s3 import open_s3
from eventsam.checkpoint.storage import Storage
from eventsam.unknown_name import unknown_name

log = logging.getLogger(__name__)

SCHEMES = ("s3", "file")
PLACE = "place.json"
"""In a run's checkpoints folder: the URL where they lie, if it is not there."""


def open_storage(location: str | Path, cache: Path) -> Storage:
    """Open a place for one run's checkpoints: a folder's path, `file:///folder` or `s3://bucket/prefix?options`.

    `cache` is a folder of this machine (or shared) for checkpoints that are fetched from far away.

    Raises:
        ValueError: the URL's scheme is unknown, or its parts are.
    """
    scheme, separator, rest = str(location).partition("://")
    if not separator:
        return LocalStorage(Path(location))
    if scheme not in SCHEMES:
        raise ValueError(unknown_name(f"scheme of {str(location)!r}:", scheme, SCHEMES))
    return LocalStorage(Path(rest)) if scheme == "file" else open_s3(str(location), cache)


def place(folder: Path, wanted: str | None = None) -> str:
    """Return where the checkpoints of a run's checkpoints folder lie; with `wanted`, a new run puts them there.

    Another folder is linked from the run's, so that everybody finds them; a URL is noted there.

    Raises:
        ValueError: the run keeps its checkpoints elsewhere already, or `wanted` is no place.
    """
    noted = json.loads((folder / PLACE).read_text())["location"] if (folder / PLACE).exists() else None
    known = noted or str(folder.resolve())
    if wanted is None:
        return known
    storage = open_storage(wanted, folder)
    wanted = str(storage.root.expanduser().resolve()) if isinstance(storage, LocalStorage) else wanted
    if wanted == known:
        return known
    if noted or folder.is_symlink() or LocalStorage(folder).names():
        raise ValueError(f"the run of {folder.parent} keeps its checkpoints in {known}, not in {wanted}")
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(storage, LocalStorage):
        folder.rmdir()
        folder.symlink_to(wanted, target_is_directory=True)
    else:
        (folder / f"{PLACE}.partial").write_text(json.dumps({"location": wanted}))
        (folder / f"{PLACE}.partial").replace(folder / PLACE)
    return wanted


def chosen(folder: Path) -> Path | None:
    """Return the best checkpoint of a run's checkpoints folder, else the newest whole one, on this machine."""
    storage = open_storage(place(folder), folder)
    best = storage.best()
    if best is not None:
        try:
            fetched = storage.fetch(best)
            problem = damage(fetched)
        except OSError as error:
            problem = str(error)
        if problem is None:
            return fetched
        log.warning("the best checkpoint %s of %s is damaged (%s); taking the newest", best, folder, problem)
    newest = storage.newest()
    return None if newest is None else storage.fetch(newest)
