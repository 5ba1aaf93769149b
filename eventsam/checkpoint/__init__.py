"""A checkpoint is a folder: model.safetensors, optimizer.safetensors, state.json; written whole or not at all."""

from eventsam.checkpoint.local import LocalStorage, folder_of, latest, save
from eventsam.checkpoint.location import chosen, open_storage, place
from eventsam.checkpoint.state import (
    FILES,
    VERSION,
    Snapshot,
    State,
    check_catalog,
    expected_bytes,
    load_task,
    read_state,
    restore,
    snapshot,
    warn_of_other_code,
)
from eventsam.checkpoint.storage import CheckpointWriteError, Storage
from eventsam.checkpoint.writer import Writer

__all__ = [
    "FILES",
    "VERSION",
    "CheckpointWriteError",
    "LocalStorage",
    "Snapshot",
    "State",
    "Storage",
    "Writer",
    "check_catalog",
    "chosen",
    "expected_bytes",
    "folder_of",
    "latest",
    "load_task",
    "open_storage",
    "place",
    "read_state",
    "restore",
    "save",
    "snapshot",
    "warn_of_other_code",
]
