"""The tables of docs/scaling.md, from what `python -m benchmarks.platform --json OUT` measured.

python -m benchmarks.platform_scaling OUT
Only what stands between the page's marks is written anew: what was measured (rows that OUT lacks stay), and what
follows from it by the code that the page speaks of. tests/test_scaling.py holds the page to that.
"""

import argparse
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eventsam.throughput import Pipeline, ReaderCost, readers_needed, simulate
from ray_jobs.pipeline import BYTES_PER_BLOCK, SAMPLES_PER_BLOCK

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
RECIPES = ("reconstruct", "distill", "fuse", "480 x 640 to 518 x 518")
LARGE = RECIPES[-1]
NUM_GPUS, RATE = 1000, 100.0
"""The cluster on paper: the rate is stated, not measured, and everything grows with it."""
CORES_PER_NODE, GPUS_PER_NODE = 32, 8

NONE = "–"
"""A row without a peer, or one that was not measured yet."""
SCHEDULER = "blocks through one scheduler (1000 GPUs of 100 samples/s: peer)"
IN_MEMORY, IN_FILE = "index: in memory (Parquet: peer)", "index of 1000000 rows: Parquet (zstd: peer)"
SEAL, OWN = "index: seconds per million rows to seal (to read: peer)", (
    "index in a reading process, its own (shared on the node: peer)"
)  # fmt: skip
PLAN_S, PLAN_B = "a plan of 10000 blocks: until its first", "a plan of 10000 blocks: memory"
SEEK = "10^9 samples: seek to a position, first batch of 8192, slowest"
SEEK_MEMORY = "10^9 samples: memory of a seek (allocations, resident)"
ORDER_RATE = "10^9 samples: rows of consecutive positions"
CHECKED = [
    f"{num_readers} reading CPUs, trainer {name}: delivered (predicted: peer)"
    for name in ("endless", "1.4 readers' worth")
    for num_readers in (1, 2)
]
PARTS = (
    "read and represent (on CPU: peer)",
    "in the object store (in files: peer)",
    "spread of a block's time over its mean",
)
ROWS = [*(f"{recipe}: {part}" for recipe in RECIPES for part in PARTS), SCHEDULER, PLAN_S, PLAN_B, IN_FILE, IN_MEMORY,
        SEAL, OWN, SEEK, SEEK_MEMORY, ORDER_RATE]  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One row of the platform's table."""

    ours: float
    peer: float
    unit: str


Rows = Mapping[str, Measured]


def from_json(path: Path) -> dict[str, Measured]:
    """Return the rows that `benchmarks.platform` wrote, as far as the page shows them."""
    stated = json.loads(path.read_text())["rows"]
    shown = {*ROWS, *CHECKED}
    return {row["name"]: Measured(row["ours"], row["peer"], row["unit"]) for row in stated if row["name"] in shown}


def from_page(text: str) -> dict[str, Measured]:
    """Return the rows that the page states as measured."""
    found = dict.fromkeys((*ROWS, *CHECKED), Measured(math.nan, math.nan, ""))
    for mark in ("measured", "checked"):
        for line in _marked(text, mark).splitlines()[3:-1]:
            name, ours, peer, unit, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            found[name] = Measured(_number(ours), _number(peer), unit)
    return found


def tables(rows: Rows) -> dict[str, str]:
    """Return the page's tables by their marks."""
    return {
        "measured": _table(("row of the table", "ours", "peer", "unit"), _measured(rows, ROWS)),
        "checked": _table(("row of the table", "delivered", "predicted", "unit", "ratio"), _checked(rows)),
        "gpu": _table(
            ("recipe", "samples per block", "MB per block", "s per block", "cores", "MB/s", "GPUs per scheduler"),
            (_gpu(rows, recipe) for recipe in RECIPES),
        ),
        "budgets": _table(("for 1000 GPUs of 100 samples/s", "number", "arithmetic"), _budgets(rows)),
        "index": _table(("an index of 10^9 samples", "number", "arithmetic"), _index(rows)),
    }


def rewritten(text: str, rows: Rows) -> str:
    """Return the page with its tables written anew; what follows, follows from the numbers as they stand there."""
    text = _with_tables(text, {mark: table for mark, table in tables(rows).items() if mark in ("measured", "checked")})
    return _with_tables(text, tables(from_page(text)))


def cost_of(rows: Rows, recipe: str) -> ReaderCost:
    """Return a recipe's reader as it was measured."""
    seconds, num_bytes, spread = (rows[f"{recipe}: {part}"] for part in PARTS)
    return ReaderCost(seconds.ours / 1e3, num_bytes.ours * 1e3, spread=spread.ours)


def pipeline_of(rows: Rows, recipe: str, num_gpus: int = 1) -> Pipeline:
    """Return the pipeline that feeds GPUs of the stated rate, cut into blocks as the product cuts it."""
    cost = cost_of(rows, recipe)
    samples = max(1, min(SAMPLES_PER_BLOCK, int(BYTES_PER_BLOCK // cost.bytes)))
    return Pipeline(cost, 1, RATE, num_gpus, samples_per_block=samples)


def _measured(rows: Rows, names: Iterable[str]) -> Iterable[tuple[str, ...]]:
    for name in names:
        row = rows[name]
        alone = not name.endswith("peer)") and not name.startswith("10^9")
        yield name, _digits(row.ours), NONE if alone else _digits(row.peer), row.unit


def _checked(rows: Rows) -> Iterable[tuple[str, ...]]:
    for cells, name in zip(_measured(rows, CHECKED), CHECKED, strict=True):
        yield *cells, _digits(rows[name].ours / rows[name].peer)


def _gpu(rows: Rows, recipe: str) -> tuple[str, ...]:
    model = pipeline_of(rows, recipe)
    cores = 1.1 * RATE * model.block_seconds / model.samples_per_block
    fed = rows[SCHEDULER].ours * model.samples_per_block / RATE
    return (recipe, str(model.samples_per_block), _digits(model.block_bytes / 1e6), _digits(model.block_seconds),
            _digits(cores), _digits(RATE * model.reader.bytes / 1e6), _whole(fed))  # fmt: skip


def _budgets(rows: Rows) -> Iterable[tuple[str, ...]]:
    model = pipeline_of(rows, LARGE, NUM_GPUS)
    cost, total, in_files = model.reader, NUM_GPUS * RATE, rows[f"{LARGE}: {PARTS[1]}"].peer / 1e3
    cores, sample_mb, block_mb = readers_needed(model), cost.bytes / 1e6, model.block_bytes / 1e6
    nodes, blocks_s = math.ceil(cores / CORES_PER_NODE), total / model.samples_per_block
    waiting = model.samples_per_block / RATE
    yield "samples/s", f"{total:.0f}", f"{NUM_GPUS} x {RATE:g}"
    yield ("reading cores", str(cores),
           f"1.1 x {total:.0f} x {_digits(model.block_seconds)} s / {model.samples_per_block}")  # fmt: skip
    yield "nodes that read", str(nodes), f"{cores} / {CORES_PER_NODE} cores, rounded up"
    yield "from storage, GB/s", _digits(total * in_files / 1e3), f"{total:.0f} x {_digits(in_files)} MB in files"
    yield "over the network, GB/s", _digits(total * sample_mb / 1e3), f"{total:.0f} x {_digits(sample_mb)} MB"
    yield ("out of a reading node, Gbit/s", _digits(8 * total * sample_mb / 1e3 / nodes),
           f"8 x {_digits(total * sample_mb / 1e3)} / {nodes}")  # fmt: skip
    yield ("into a node of 8 GPUs, Gbit/s", _digits(8 * GPUS_PER_NODE * RATE * sample_mb / 1e3),
           f"8 x {GPUS_PER_NODE} x {RATE:g} x {_digits(sample_mb)} MB")  # fmt: skip
    yield ("object store of a reading node, a block per core, GB", _digits(CORES_PER_NODE * block_mb / 1e3),
           f"{CORES_PER_NODE} x {_digits(block_mb)} MB")  # fmt: skip
    in_store = (cores + NUM_GPUS) * block_mb / 1e3
    yield ("object store of all nodes, a block per core and one per GPU, GB", _digits(in_store),
           f"({cores} + {NUM_GPUS}) x {_digits(block_mb)} MB")  # fmt: skip
    yield ("seconds that a block lasts its GPU", _digits(waiting), f"{model.samples_per_block} / {RATE:g}")
    yield "blocks/s", _digits(blocks_s), f"{total:.0f} / {model.samples_per_block}"
    yield ("schedulers at the measured rate", _whole(np.ceil(blocks_s / rows[SCHEDULER].ours)),
           f"{_digits(blocks_s)} / {_digits(rows[SCHEDULER].ours)}, rounded up")  # fmt: skip


def _index(rows: Rows) -> Iterable[tuple[str, ...]]:
    for name, row, value in (
        ("in a file, GB", IN_FILE, rows[IN_FILE].ours),
        ("in a file with zstd, GB", IN_FILE, rows[IN_FILE].peer),
        ("in memory, once per node, GB", IN_MEMORY, rows[IN_MEMORY].ours),
        ("in memory, of every reading process besides, GB", OWN, rows[OWN].ours),
    ):
        yield name, _digits(value), f"10^9 x {_digits(value)} {rows[row].unit.partition('/')[0]}"
    for name, value in (("to read, min", rows[SEAL].peer), ("to seal, min", rows[SEAL].ours)):
        yield name, _digits(value * 1e3 / 60), f"10^3 x {_digits(value)} s per million rows"
    blocks = 10**9 / SAMPLES_PER_BLOCK
    yield ("a plan of its blocks, until the first, min", _digits(rows[PLAN_S].ours * blocks / 1e4 / 60),
           f"10^9 / {SAMPLES_PER_BLOCK} blocks x {_digits(rows[PLAN_S].ours)} s / 10^4")  # fmt: skip
    yield ("a plan of its blocks, in the driver's memory, GB", _digits(rows[PLAN_B].ours * blocks / 1e9),
           f"10^9 / {SAMPLES_PER_BLOCK} blocks x {_digits(rows[PLAN_B].ours)} B")  # fmt: skip
    yield ("rows in 64 GB of memory", f"{_whole(64e9 / rows[IN_MEMORY].ours / 1e6)} million",
           f"64 x 10^9 / {_digits(rows[IN_MEMORY].ours)} B")  # fmt: skip


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" if cells[0] != "---" else f"|{'|'.join(cells)}|" for cells in lines)


def _digits(value: float) -> str:
    """Return three digits of a number, in full."""
    if not value or math.isnan(value):
        return "0" if value == 0 else NONE
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def _whole(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.0f}"


def _number(cell: str) -> float:
    return math.nan if cell == NONE else float(cell)


def _with_tables(text: str, made: Mapping[str, str]) -> str:
    for mark, table in made.items():
        text = text.replace(_marked(text, mark), f"<!-- {mark} -->\n{table}\n<!-- end -->")
    return text


def _marked(text: str, mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n.*?\n<!-- end -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"{PAGE} has no place for the table {mark!r}")
    return found.group()


def predicted(rows: Rows, num_readers: int, worth: float) -> float:
    """Return the samples/s that the model gives for stage 0's reader and a trainer of `worth` readers."""
    cost = cost_of(rows, RECIPES[0])
    rate = min(worth / cost.seconds, 1e6)
    return simulate(Pipeline(cost, num_readers, rate, samples_per_block=SAMPLES_PER_BLOCK)).samples_per_s


def main() -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    text = PAGE.read_text()
    PAGE.write_text(rewritten(text, from_page(text) | from_json(parser.parse_args().rows)))


if __name__ == "__main__":
    main()
