"""Released SAM 3D checkpoints to safetensors and JSON, every key accounted for; and back to the released layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from eventsam.models.sam3d.checkpoint_sizes import encoder_sizes, read_sizes
from eventsam.models.sam3d.condition import ConditionEmbedder
from eventsam.models.sam3d.folder import read_record, write_folder, write_model
from eventsam.models.sam3d.foreign_file import State, bare_state, read_torch_file, wrapped_state
from eventsam.models.sam3d.generator import Generator
from eventsam.models.sam3d.presets import Sam3dPreset
from eventsam.models.sam3d.state_faults import Faults, Shapes, compare, same_shape, shapes
from eventsam.models.sam3d.vae import OccupancyVaeDecoder, OccupancyVaeEncoder
from eventsam.models.vit import PRESETS as ENCODERS
from eventsam.models.vit import ImageEncoder
from eventsam.models.vit_weights import fit_state

GENERATOR_FILE, DECODER_FILE, ENCODER_FILE = "ss_generator.ckpt", "ss_decoder.ckpt", "ss_encoder.ckpt"
PREFIXES = {"generator": "_base_models.generator.", "embedder": "_base_models.condition_embedder."}
"""How the two nets that share `ss_generator.ckpt` are told apart there."""
DROPPED_TOKEN = "module_list.2.dropped_xyz_token"
FILES = {"generator": GENERATOR_FILE, "embedder": GENERATOR_FILE, "decoder": DECODER_FILE, "encoder": ENCODER_FILE}


@dataclass(frozen=True)
class Report:
    """What became of every key.

    `kept` holds (source file, its key, part, name, shape, dtype), `left` the keys of neither net of the shared file.
    """

    kept: tuple[tuple[str, str, str, str, tuple[int, ...], str], ...]
    left: tuple[str, ...]
    faults: Mapping[str, Faults]

    def lines(self) -> list[str]:
        """Return a line for every key, then one with the counts."""
        kept = [f"{file}: {key} -> {part}: {name} {shape} {dtype}" for file, key, part, name, shape, dtype in self.kept]
        left = [f"{GENERATOR_FILE}: {key} left out (of neither net)" for key in self.left]
        faults = [f"{FILES[part]}: {part}: {line}" for part, found in self.faults.items() for line in found.lines()]
        return [*kept, *left, *faults, self.summary()]

    def summary(self) -> str:
        """Return one line with the counts."""
        counts = {part: sum(entry[2] == part for entry in self.kept) for part in FILES}
        told = ", ".join(f"{number} {part}" for part, number in counts.items() if number)
        num_faults = sum(len(found.lines()) for found in self.faults.values())
        return f"kept {told}; left out {len(self.left)}; faults {num_faults}"


class CheckpointMismatchError(ValueError):
    """A checkpoint is not the model that its sizes say; `report` accounts for every key."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


def convert_sam3d(checkpoint: Path, out: Path) -> Report:
    """Convert a folder with ss_generator.ckpt, ss_decoder.ckpt and optionally ss_encoder.ckpt to the folder `out`.

    Sizes are read from the weights; every weight keeps its dtype.

    Raises:
        FileNotFoundError: a file is missing.
        FileExistsError: `out` exists.
        CheckpointMismatchError: keys or shapes are not those of the model of these sizes.
        ValueError: a file is damaged, holds code, or has another layout; or the sizes cannot be read.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another name or remove it")
    states, left = read_released(checkpoint)
    try:
        preset = read_sizes(states["generator"], states["embedder"], states["decoder"])
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    report = _checked(checkpoint, states, left, preset)
    write_model(out, preset, states, {"sources": {part: FILES[part] for part in states}})
    return report


def read_released(checkpoint: Path) -> tuple[dict[str, State], tuple[str, ...]]:
    """Return the states by part, prefixes stripped, and the keys of `ss_generator.ckpt` that belong to neither net."""
    _check_files(checkpoint)
    whole = wrapped_state(read_torch_file(checkpoint / GENERATOR_FILE), checkpoint / GENERATOR_FILE)
    states = {
        part: {key.removeprefix(prefix): tensor for key, tensor in whole.items() if key.startswith(prefix)}
        for part, prefix in PREFIXES.items()
    }
    for part, prefix in PREFIXES.items():
        if not states[part]:
            first = ", ".join(list(whole)[:4])
            raise ValueError(f"{checkpoint / GENERATOR_FILE}: no key starts with {prefix!r}; the first are {first}")
    for part in ("decoder", "encoder"):
        path = checkpoint / FILES[part]
        if path.is_file() or part == "decoder":
            states[part] = bare_state(read_torch_file(path), path)
    return states, tuple(key for key in whole if not key.startswith(tuple(PREFIXES.values())))


def to_released(folder: Path) -> dict[str, Any]:
    """Return what the released files would hold, by file name, for a folder that `convert_sam3d` wrote."""
    parts = read_record(folder)["parts"]
    states = {part: load_file(folder / f"{part}.safetensors") for part in parts}
    shared = {f"{prefix}{name}": t for part, prefix in PREFIXES.items() for name, t in states[part].items()}
    return {GENERATOR_FILE: {"state_dict": shared}} | {
        FILES[part]: states[part] for part in parts if part not in PREFIXES
    }


def expected_shapes(preset: Sam3dPreset, dropped_xyz_token: bool = False) -> dict[str, Shapes]:
    """Return the names and shapes of all weights of a model of these sizes, by part; no weight is made.

    `dropped_xyz_token` adds the one that only models trained without some of the points have.
    """
    with torch.device("meta"):
        modules = {
            "generator": Generator(preset),
            "embedder": ConditionEmbedder(preset, dropped_xyz_token=dropped_xyz_token),
            "decoder": OccupancyVaeDecoder(preset),
            "encoder": OccupancyVaeEncoder(preset),
        }
        return {part: shapes(module.state_dict()) for part, module in modules.items()}


def convert_encoder(checkpoint: Path, out: Path) -> list[str]:
    """Convert an image encoder alone, in timm's or DINOv2's own names, to out/encoder.safetensors and encoder.json.

    Names stay as they are: `ImageEncoder.load_weights` reads both. Returns a line for every key. Raises as
    `convert_sam3d`, with the missing, unexpected and misshapen weights named.
    """
    state = bare_state(read_torch_file(checkpoint), checkpoint)
    try:
        preset, image_size = encoder_sizes(state)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    with torch.device("meta"):
        encoder = ImageEncoder(preset, image_size)
    fit_state(state, encoder.vit.state_dict(), encoder.grid, str(checkpoint), ENCODERS)
    names = "DINOv2" if "register_tokens" in state else "timm"
    record = {"version": 1, "preset": preset, "image_size": image_size, "names": names, "source": checkpoint.name}
    write_folder(out, {"encoder.safetensors": state}, "encoder.json", record)
    return [f"{checkpoint.name}: {name} -> encoder: {name} {tuple(t.shape)} {_dtype(t)}" for name, t in state.items()]


def _checked(checkpoint: Path, states: Mapping[str, State], left: tuple[str, ...], preset: Sam3dPreset) -> Report:
    expected = expected_shapes(preset, DROPPED_TOKEN in states["embedder"])
    faults = {part: compare(shapes(state), expected[part]) for part, state in states.items()}
    kept = tuple(
        (FILES[part], f"{PREFIXES.get(part, '')}{name}", part, name, tuple(tensor.shape), _dtype(tensor))
        for part, state in states.items()
        for name, tensor in state.items()
        if name in expected[part] and same_shape(name, tuple(tensor.shape), expected[part][name])
    )
    report = Report(kept, left, faults)
    wrong = [f"{FILES[part]} ({part}): {found.summary()}" for part, found in faults.items() if found]
    if wrong:
        raise CheckpointMismatchError(f"{checkpoint} does not fit the model of its sizes: {'. '.join(wrong)}", report)
    return report


def _check_files(checkpoint: Path) -> None:
    missing = [name for name in (GENERATOR_FILE, DECODER_FILE) if not (checkpoint / name).is_file()]
    if missing:
        held = ", ".join(sorted(path.name for path in checkpoint.glob("*"))[:20]) if checkpoint.is_dir() else ""
        raise FileNotFoundError(f"{checkpoint} has no {' and no '.join(missing)} (it has: {held or 'nothing'})")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
