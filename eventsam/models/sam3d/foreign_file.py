"""Foreign torch files, read as plain tensors: the one place where such a file is opened, and nothing in it is run."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eventsam.unknown_name import unknown_name

State = dict[str, Tensor]


def read_torch_file(path: Path) -> Any:
    """Read a .ckpt or .pth file onto the CPU, without running any code that it may hold.

    Raises FileNotFoundError for none, ValueError for a damaged file and for one that holds other objects than tensors,
    plain containers and numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        # Mapped, tensors are read where they are used; the old format, which is no archive, cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the reader's own errors are of many kinds
        raise ValueError(
            f"{path} cannot be read as a file of tensors: it is damaged, or holds objects with code, none of which "
            f"was run ({type(error).__name__}: {_reason(error)})"
        ) from error


def bare_state(content: Any, path: Path) -> State:
    """Return a state that is the file's whole content; raise ValueError naming what is there instead."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected tensors by name")
    wrong = [f"{key!r} ({type(value).__name__})" for key, value in content.items() if not _is_entry(key, value)]
    if wrong or not content:
        held = ", ".join(wrong[:8]) + (f" and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise ValueError(f"{path} must hold tensors by name alone; it also has {held or 'nothing'}")
    return dict(content)


def wrapped_state(content: Any, path: Path, key: str = "state_dict") -> State:
    """Return the state below a key of the file's content; raise ValueError naming the keys that are there."""
    if not isinstance(content, Mapping) or key not in content:
        held = [str(name) for name in content] if isinstance(content, Mapping) else []
        shown = held[:8] + ([f"and {len(held) - 8} more"] if len(held) > 8 else [])
        raise ValueError(f"{path}: {unknown_name('key, not in the file:', key, shown)}")
    return bare_state(content[key], path)


def _is_entry(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor)


def _reason(error: Exception) -> str:
    """The line of a long message that says what was found; torch's advice on how to allow it is left out."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("GLOBAL", "WeightsUnpickler", "Unsupported"))]
    return (telling or lines or ["no reason given"])[0][:300]
