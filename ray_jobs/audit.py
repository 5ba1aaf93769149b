"""Which samples a run's workers took, batch by batch: the proof that restarts and resizes change nothing."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eventsam.metrics_log import append_line

FILE = "consumed.jsonl"


def audited(
    batches: Iterable[Mapping[str, Any]],
    folder: Path,
    rank: int,
    num_workers: int,
    identify: Callable[[Mapping[str, Any]], list[str]],
) -> Iterator[Mapping[str, Any]]:
    """Yield the batches, after each one's position and sample ids were appended to the run's record."""
    for batch in batches:
        position = int(batch["position"][0])
        ids = identify(batch)
        append_line(folder / FILE, {"position": position, "rank": rank, "num_workers": num_workers, "sample_ids": ids})
        yield batch


def consumed(folder: Path, global_batch_size: int) -> dict[int, list[str]]:
    """Return the sample ids of every global batch by its number, in order; batches that were redone must agree.

    Raises:
        ValueError: a position held two samples, or a batch is not whole.
    """
    by_position: dict[int, str] = {}
    for line in (folder / FILE).read_text().splitlines():
        record = json.loads(line)
        for position, sample_id in enumerate(record["sample_ids"], record["position"]):
            if by_position.setdefault(position, sample_id) != sample_id:
                raise ValueError(f"position {position} held {by_position[position]!r}, then {sample_id!r}")
    batches: dict[int, list[str]] = {}
    for position in sorted(by_position):
        batches.setdefault(position // global_batch_size, []).append(by_position[position])
    for number, ids in batches.items():
        if len(ids) != global_batch_size:
            raise ValueError(f"global batch {number} holds {len(ids)} of {global_batch_size} samples")
    return batches


def sizes_used(folder: Path) -> list[int]:
    """Return the numbers of workers that the run used, one after the other."""
    sizes: list[int] = []
    for line in (folder / FILE).read_text().splitlines():
        number = int(json.loads(line)["num_workers"])
        if sizes[-1:] != [number]:
            sizes.append(number)
    return sizes
