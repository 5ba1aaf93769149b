"""A report's data on disk: report.json for numbers and words, report.npz for pictures and shapes."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.report.data import AttentionRow, Difference, GroupRow, ReportData, ResultRow, SampleRow, Share

SCHEMA = 1
JSON_NAME = "report.json"
ARRAYS_NAME = "report.npz"
_ROWS: Mapping[str, type[ResultRow | Difference | GroupRow]] = {
    "rows": ResultRow,
    "differences": Difference,
    "groups": GroupRow,
    "pooled_rows": ResultRow,
    "pooled_differences": Difference,
}
_LATER = ("groups", "pooled_rows", "pooled_differences", "attention")


def save(report: ReportData, directory: Path) -> None:
    """Write `report` into `directory` (made if missing), readable by `load`."""
    directory.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = {}
    samples = []
    for number, sample in enumerate(report.samples):
        for name, image in sample.images.items():
            arrays[f"{number}/images/{name}"] = image
        for name, grid in sample.occupancies.items():
            # bits, eight cells to a byte, beside the side length that they cannot tell
            arrays[f"{number}/occupancies/{name}"] = np.packbits(grid)
        samples.append(
            {
                "title": sample.title,
                "blur": sample.blur,
                "scores": dict(sample.scores),
                "images": list(sample.images),
                "occupancies": {name: len(grid) for name, grid in sample.occupancies.items()},
            }
        )
    attention = []
    for number, looked in enumerate(report.attention):
        arrays |= {f"attention/{number}/images/{name}": image for name, image in looked.images.items()}
        arrays |= {f"attention/{number}/maps/{name}": maps for name, maps in looked.maps.items()}
        attention.append({"title": looked.title, "blocks": list(looked.blocks)})
    with (directory / ARRAYS_NAME).open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    words = {"schema": SCHEMA, **_without_arrays(report), "samples": samples, "attention": attention}
    text = json.dumps(finite_or_null(words), indent=1, allow_nan=False)
    (directory / JSON_NAME).write_text(text + "\n", encoding="utf-8")


def load(directory: Path) -> ReportData:
    """Read what `save` wrote; raise ValueError naming the file where it is missing, of another schema or damaged."""
    path = directory / JSON_NAME
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{directory} holds no {JSON_NAME}; a report's directory is expected") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    schema = words.pop("schema", None) if isinstance(words, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r}, this version reads {SCHEMA}")
    try:
        return _rebuilt(words, directory / ARRAYS_NAME)
    except (KeyError, TypeError, OSError, ValueError) as error:
        raise ValueError(f"{directory} holds a damaged report: {type(error).__name__}: {error}") from error


def finite_or_null(value: Any) -> Any:
    """Return `value` with plain containers and with None for every float that JSON cannot write (NaN, infinity)."""
    if isinstance(value, Mapping):
        return {str(key): finite_or_null(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _without_arrays(report: ReportData) -> dict[str, Any]:
    fields = {name: value for name, value in vars(report).items() if name not in ("samples", "attention")}
    for name in _ROWS:
        fields[name] = [asdict(row) for row in fields[name]]
    fields["gap_closed"] = {
        name: {blur: asdict(share) for blur, share in shares.items()} for name, shares in report.gap_closed.items()
    }
    return fields


def _rebuilt(words: dict[str, Any], arrays_path: Path) -> ReportData:
    # Reports of before a kind of row existed have none of it.
    words = {name: () for name in _LATER} | words
    for name, kind in _ROWS.items():
        words[name] = tuple(kind(**_with_nan(row)) for row in words[name])
    words["gap_closed"] = {
        name: {blur: Share(**share) for blur, share in shares.items()} for name, shares in words["gap_closed"].items()
    }
    words["losses"] = {stage: tuple(map(_with_nan, records)) for stage, records in words["losses"].items()}
    with np.load(arrays_path, allow_pickle=False) as arrays:
        words["samples"] = tuple(_sample(number, row, arrays) for number, row in enumerate(words["samples"]))
        looked = enumerate(words["attention"])
        words["attention"] = tuple(_attention(number, row, arrays) for number, row in looked)
    for name in ("commands", "notes"):
        words[name] = tuple(words[name])
    return ReportData(**words)


def _sample(number: int, row: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> SampleRow:
    occupancies = {}
    for name, side in row["occupancies"].items():
        bits = np.unpackbits(arrays[f"{number}/occupancies/{name}"], count=side**3)
        occupancies[name] = bits.astype(bool).reshape(side, side, side)
    images = {name: arrays[f"{number}/images/{name}"] for name in row["images"]}
    return SampleRow(row["title"], row["blur"], images, occupancies, _with_nan(row["scores"]))


def _attention(number: int, row: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> AttentionRow:
    images, maps = (
        {name: arrays[f"attention/{number}/{kind}/{name}"] for name in ("teacher", "student")}
        for kind in ("images", "maps")
    )
    return AttentionRow(row["title"], tuple(row["blocks"]), images, maps)


def _with_nan(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if value is None else value for name, value in numbers.items()}
