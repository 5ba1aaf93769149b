"""A SAM 3D model on disk: one safetensors file per part and sam3d.json with its sizes; written whole or not at all."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eventsam.models.sam3d.presets import Sam3dPreset
from eventsam.models.sam3d.state_faults import compare, shapes
from eventsam.unknown_name import unknown_name

JSON_NAME = "sam3d.json"
VERSION = 1
PARTS = ("generator", "embedder", "decoder", "encoder")
"""What a folder may hold, each as <part>.safetensors; names in the files are upstream's without prefixes."""


def write_model(
    out: Path, preset: Sam3dPreset, states: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any] | None = None
) -> None:
    """Write the states of parts, and the preset with further facts, to a new folder.

    Raises ValueError for an unknown part, FileExistsError where `out` exists: nothing is overwritten.
    """
    for part in states:
        if part not in PARTS:
            raise ValueError(unknown_name("part of a SAM 3D model", part, PARTS))
    record = {"version": VERSION, "parts": sorted(states), "preset": dataclasses.asdict(preset), **(facts or {})}
    write_folder(out, {f"{part}.safetensors": state for part, state in states.items()}, JSON_NAME, record)


def write_folder(
    out: Path, files: Mapping[str, Mapping[str, Tensor]], record_name: str, record: Mapping[str, Any]
) -> None:
    """Write safetensors files and a JSON record to a temporary folder beside `out`, then rename it.

    Raises FileExistsError where `out` exists.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another name or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, state in files.items():
            save_file(_apart(state), temporary / name)
        (temporary / record_name).write_text(json.dumps(record, indent=1))
        temporary.chmod(0o755)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_record(folder: Path) -> dict[str, Any]:
    """Return sam3d.json of a folder.

    Raises FileNotFoundError for a folder without it, ValueError for another version of the format.
    """
    path = folder / JSON_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no SAM 3D model: {JSON_NAME} is missing (`eventsam convert sam3d`)")
    record: dict[str, Any] = json.loads(path.read_text())
    if record.get("version") != VERSION:
        raise ValueError(f"{path} has version {record.get('version')}, this release reads {VERSION}")
    return record


def read_preset(folder: Path) -> Sam3dPreset:
    """Return the sizes of the model in a folder; raise ValueError for fields that this release does not know."""
    stated: dict[str, Any] = read_record(folder)["preset"]
    fields = [field.name for field in dataclasses.fields(Sam3dPreset)]
    for name in stated:
        if name not in fields:
            raise ValueError(f"{folder / JSON_NAME}: {unknown_name('size', name, fields)}")
    return Sam3dPreset(**{**stated, "decoder_channels": tuple(stated["decoder_channels"])})


def load_part(folder: Path, part: str, module: nn.Module) -> None:
    """Load one part's weights into a module, strictly, as the module's dtype and where it lies.

    Raises FileNotFoundError for a part that is not there, ValueError naming the missing, unexpected and misshapen
    weights.
    """
    path = folder / f"{part}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {path.name} (it has: {', '.join(sorted(p.name for p in folder.glob('*')))})"
        )
    with safe_open(path, framework="pt") as file:
        given = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    faults = compare(given, shapes(module.state_dict()))
    if faults:
        raise ValueError(f"{path} does not fit: {faults.summary()}")
    module.load_state_dict(load_file(path))


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor memory of its own, as the format wants; views of a larger one are copied."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in state.items():
        tensor = tensor.detach()
        storage = tensor.untyped_storage()
        whole = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        apart[name] = tensor if whole else tensor.clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
    return apart
