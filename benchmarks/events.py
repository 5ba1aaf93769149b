"""The event core against its peers: `python -m benchmarks.events [--quick] [--only PART] [--json OUT]`.

Everything in one process on one thread; peers come from `pip install -e ".[bench]"` and are skipped by name when
absent.
Exits 1 where a goal is missed.
"""

import argparse
import importlib
import json
import logging
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

import benchmarks.event_rows
from benchmarks.race import Row


def parts() -> list[str]:
    """Return the names of the parts: the modules of benchmarks/event_rows."""
    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.event_rows.__path__))


def all_rows(names: list[str], quick: bool) -> Iterator[Row]:
    """Run the parts one after the other."""
    for name in names:
        yield from importlib.import_module(f"benchmarks.event_rows.{name}").rows(quick)


def main() -> int:
    """Print the table as it grows; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds: to see that it runs")
    parser.add_argument("--only", choices=parts(), action="append", help="run this part only (repeatable)")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(1)
    rows = []
    print(f"{'':60} {'ours':>9} {'peer':>9} {'unit':>9} {'ratio':>7} {'goal':>6}")
    for row in all_rows(arguments.only or parts(), arguments.quick):
        goal = "" if row.goal is None else f"{row.goal:6.2f}{'' if row.met else '  MISSED'}"
        print(f"{row.name:60} {row.ours:9.1f} {row.peer:9.1f} {row.unit:>9} {row.ratio:7.2f} {goal}", flush=True)
        rows.append(row)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=1))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
