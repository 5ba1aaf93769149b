"""The event core against its peers: `python -m benchmarks.events [--quick] [--only PART] [--json OUT]`.

Everything in one process on one thread; peers come from `pip install -e ".[bench]"` and are skipped by name when
absent.
Exits 1 where a goal is missed.
"""

import sys

import torch

import benchmarks.event_rows
from benchmarks.table import run_table


def main() -> int:
    """Print the table as it grows; return the exit code."""
    torch.set_num_threads(1)
    return run_table(benchmarks.event_rows, __doc__)


if __name__ == "__main__":
    sys.exit(main())
