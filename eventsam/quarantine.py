"""Bad samples: those known before a run are left out of its order; those found in it are recorded, never hidden.

Two lists, one format. `quarantine.json` beside a catalog names samples that no run reads: the order is a function of
(catalog, that list, seed, epoch). A run that finds a bad sample by itself must not change its order on the way: global
batch i has to hold the same samples for any number of workers and after any restart. So the bad sample's place is taken
by a stand-in, another sample of the same selection that is a function of (seed, epoch, bad sample's id) alone. Every
place so filled is written down (sample, reason, stand-in) before the batch is trained on, is filled in the same way
when it is redone, is counted, and stops the run past a stated share. The price: the stand-in counts twice in that
epoch. In a validation it counts once (metrics are kept by sample), so that the bad sample is simply left out.

The other ways are worse: a smaller batch has another gradient on two workers than on one, and may be empty; a restart
per bad sample loses the steps since the last checkpoint each time.
"""

import hashlib
import json
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eventsam.catalog import Catalog
from eventsam.final_error import write_final_error
from eventsam.metrics_log import append_line

log = logging.getLogger(__name__)

FILE = "quarantine.json"
FOLDER = "quarantine"
VERSION = 1


class SampleError(ValueError):
    """A sample cannot be read or shown as asked; `sample_id` and `reason` say which and why."""

    def __init__(self, sample_id: str, root: Path, reason: str) -> None:
        # All three are `args`, so that the error can be sent to another process.
        super().__init__(sample_id, root, reason)
        self.sample_id, self.root, self.reason = sample_id, root, reason

    def __str__(self) -> str:
        return f"sample {self.sample_id!r} of {self.root}: {self.reason}"


class TooManyBadSamplesError(ValueError):
    """More samples of a selection are bad than the recipe's `data.max_bad_share` allows."""


@dataclass(frozen=True)
class Entry:
    """One place in the order that a bad sample lost: `selection` is "training" or "validation"."""

    selection: str
    position: int
    sample_id: str
    reason: str
    stand_in: int


@dataclass(frozen=True)
class Quarantine:
    """The bad samples of one run, written by every reader to a file of its own in the run's folder.

    Files of one writer each need no lock, also on a network file system; all readers read them all.
    """

    run: Path
    max_share: float

    @property
    def folder(self) -> Path:
        """Where the entries are."""
        return self.run / FOLDER

    def entries(self, selection: str) -> dict[int, Entry]:
        """Return the entries of a selection by position."""
        found = (entry for entry in read_entries(self.run) if entry.selection == selection)
        return {entry.position: entry for entry in found}

    def add(self, entry: Entry, num_samples: int) -> None:
        """Write an entry down, count, and refuse to go on where too many of `num_samples` samples are bad.

        Raises:
            TooManyBadSamplesError: with the counts, the first reasons, and what to do.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        append_line(self.folder / f"{socket.gethostname()}-{os.getpid()}.jsonl", vars(entry))
        log.warning("bad sample %s: %s (place %d)", entry.sample_id, entry.reason, entry.position)
        bad = {found.sample_id: found.reason for found in self.entries(entry.selection).values()}
        if len(bad) <= self.max_share * num_samples:
            return
        shown = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:5])
        message = (
            f"{len(bad)} of {num_samples} {entry.selection} samples are bad, more than data.max_bad_share "
            f"{self.max_share} allows: {shown}. All are listed in {self.run / FILE}; mend them, copy that file beside "
            f"the catalog to leave them out, or raise the share"
        )
        write_final_error(self.run, "input", message)
        write_summary(self.run)
        raise TooManyBadSamplesError(message)

    def refuse(self, error: SampleError) -> None:
        """Note that the run ends with this bad sample: none is allowed, and no restart mends it."""
        write_final_error(self.run, "input", f"{error}. To go on without such samples, set data.max_bad_share")


def read_entries(run: Path) -> list[Entry]:
    """Return every entry of a run's folder; half a line, of a reader that was killed, is not one."""
    entries: list[Entry] = []
    for path in sorted((run / FOLDER).glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            try:
                entries.append(Entry(**json.loads(line)))
            except (ValueError, TypeError):
                continue
    return entries


def write_summary(run: Path) -> int:
    """Write the run's `quarantine.json`, ready to be copied beside the catalog; return how many samples it names."""
    samples: dict[str, dict[str, Any]] = {}
    for entry in read_entries(run):
        fresh = {"sample_id": entry.sample_id, "reason": entry.reason, "places": 0}
        sample = samples.setdefault(entry.sample_id, fresh)
        sample["places"] += 1
    if samples:
        write_list(run / FILE, [samples[name] for name in sorted(samples)])
    return len(samples)


def write_list(path: Path, samples: list[dict[str, Any]]) -> None:
    """Write a list of bad samples (`sample_id`, `reason`, more if you like), whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps({"version": VERSION, "samples": samples}, indent=1))
    partial.replace(path)


def read_list(path: Path) -> dict[str, str]:
    """Return sample id to reason; empty where there is no such file.

    Raises:
        ValueError: it is no list of bad samples of this version.
    """
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text())
        if record["version"] != VERSION:
            raise ValueError(f"version {record['version']}, this release reads {VERSION}")
        return {str(sample["sample_id"]): str(sample["reason"]) for sample in record["samples"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no list of bad samples: {error}") from error


def without_known(catalog: Catalog) -> Catalog:
    """Return a selection without the samples that `quarantine.json` beside the catalog names.

    The hash tells them, so that a run does not go on in another order when the list changes.

    Raises:
        ValueError: nothing is left.
    """
    known = read_list(catalog.root / FILE)
    ids = catalog.table["sample_id"]
    bad = sorted(set(known) & set(ids.to_pylist())) if known else []
    if not bad:
        return catalog
    table = catalog.table.filter(pc.invert(pc.is_in(ids, pa.array(bad, pa.string()))))
    if not table.num_rows:
        raise ValueError(f"{catalog.root / FILE} names every sample of the selection; nothing is left to read")
    log.warning("%d of %d samples are left out: %s names them", len(bad), len(ids), catalog.root / FILE)
    digest = hashlib.sha256(json.dumps(bad).encode()).hexdigest()[:16]
    return Catalog(catalog.root, catalog.dataset, table, f"{catalog.hash}/without:{digest}", catalog.details)


def counts(run: Path) -> Mapping[str, int]:
    """Return how many distinct bad samples each selection of a run has."""
    names: dict[str, set[str]] = {}
    for entry in read_entries(run):
        names.setdefault(entry.selection, set()).add(entry.sample_id)
    return {selection: len(found) for selection, found in names.items()}
