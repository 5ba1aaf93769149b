"""From what a person writes to a storage: a folder, a shared path, or a URL."""

from pathlib import Path

from eventsam.checkpoint.local import LocalStorage
from eventsam.checkpoint.s3 import open_s3
from eventsam.checkpoint.storage import Storage
from eventsam.unknown_name import unknown_name

SCHEMES = ("s3", "file")


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
