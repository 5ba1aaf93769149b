"""The error that no restart mends: written where every worker of the next start sees it, so that none tries again."""

import json
import os
from pathlib import Path

FILE = "final_error.json"


def write_final_error(run: Path, kind: str, message: str) -> None:
    """Say in a run's folder why it cannot go on; the first to say so is the one who is heard."""
    run.mkdir(parents=True, exist_ok=True)
    partial = run / f".{FILE}.{os.getpid()}.partial"
    partial.write_text(json.dumps({"kind": kind, "message": message}, indent=1))
    if (run / FILE).exists():
        partial.unlink()
    else:
        partial.replace(run / FILE)


def read_final_error(run: Path) -> tuple[str, str] | None:
    """Return (kind, message), or None where nobody gave the run up."""
    try:
        record = json.loads((run / FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record["kind"], record["message"]


def clear_final_error(run: Path) -> None:
    """Forget the error: somebody launches the run anew."""
    (run / FILE).unlink(missing_ok=True)
