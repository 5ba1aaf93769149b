"""The platform's figures: `python -m benchmarks.platform [--quick] [--only PART] [--json OUT]`.

`ours` beside `peer`, which is the same work without Ray, or the bound that the figure has to keep; a larger `ratio` is
better. Exits 1 where a goal is missed.
"""

import importlib.util
import sys
import sysconfig
from pathlib import Path

if __name__ == "platform":
    # `python benchmarks/NAME.py` puts this folder before the standard library, whose module of this name is meant.
    _spec = importlib.util.spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib")) / "platform.py")
    assert _spec is not None and _spec.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])


def main() -> int:
    """Print the table as it grows; return the exit code."""
    import benchmarks.platform_rows
    from benchmarks.table import run_table

    return run_table(benchmarks.platform_rows, __doc__)


if __name__ == "__main__":
    sys.exit(main())
