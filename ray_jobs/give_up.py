"""What a training worker says when no restart would help, so that nobody starts it again for nothing."""

import math
from pathlib import Path

from eventsam.checkpoint import CheckpointWriteError
from eventsam.engine import NonFiniteLossError
from eventsam.final_error import read_final_error, write_final_error


def given_up(folder: Path) -> dict[str, str] | None:
    """Return what an earlier start of the workers found to be beyond mending, None where nothing was."""
    told = read_final_error(folder)
    return None if told is None else {"kind": told[0], "error": told[1]}


def give_up(error: Exception, folder: Path, num_workers: int) -> dict[str, str]:
    """Return a worker's last answer.

    Errors that all workers see at the same step are answered by all. One that this worker alone saw is left in the
    run's folder and raised, since the others wait for it: Ray stops them, starts all again, and those answer with it.

    Raises:
        Exception: the error itself, where the others do not know of it.
    """
    if isinstance(error, CheckpointWriteError):
        return {"kind": "storage", "error": str(error)}
    kind = "nonfinite" if isinstance(error, NonFiniteLossError) else "input"
    if isinstance(error, NonFiniteLossError) and not _local(error):
        if not math.isfinite(error.numbers.get("loss", 0.0)):
            write_final_error(folder, kind, str(error))  # all stop; this one knows the samples
        return {"kind": kind, "error": str(error)}
    # Where a reader found the cause, it has said so already, in fewer words.
    write_final_error(folder, kind, str(error))
    if num_workers > 1:
        raise error
    return given_up(folder) or {"kind": kind, "error": str(error)}


def _local(error: NonFiniteLossError) -> bool:
    """Whether the loss alone is not finite: gradients are shared by all workers, a loss is its worker's own."""
    return error.kind == "nonfinite" and math.isfinite(error.numbers.get("gradient_norm", math.nan))
