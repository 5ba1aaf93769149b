"""A table of rows from a package's modules: what every benchmark of several parts prints, and its exit code."""

import argparse
import importlib
import json
import logging
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from benchmarks.race import Row


def parts(package: ModuleType) -> list[str]:
    """Return the names of a table's parts: the modules of the package, each with a function `rows(quick)`."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def all_rows(package: ModuleType, names: list[str], quick: bool) -> Iterator[Row]:
    """Run the parts one after the other."""
    for name in names:
        yield from importlib.import_module(f"{package.__name__}.{name}").rows(quick)


def run_table(package: ModuleType, description: str | None) -> int:
    """Read the command line and print the table as it grows; return 0, or 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds: to see that it runs")
    parser.add_argument("--only", choices=parts(package), action="append", help="run this part only (repeatable)")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    rows = []
    print(f"{'':60} {'ours':>9} {'peer':>9} {'unit':>9} {'ratio':>7} {'goal':>6}")
    for row in all_rows(package, arguments.only or parts(package), arguments.quick):
        goal = "" if row.goal is None else f"{row.goal:6.2f}{'' if row.met else '  MISSED'}"
        print(
            f"{row.name:60} {_number(row.ours)} {_number(row.peer)} {row.unit:>9} {row.ratio:7.2f} {goal}", flush=True
        )
        rows.append(row)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=1))
    return 0 if all(row.met for row in rows) else 1


def _number(value: float) -> str:
    return f"{value:9.1f}" if abs(value) >= 10 or not value else f"{value:9.3g}"
