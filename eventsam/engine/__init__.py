"""The engine: fit() trains a task and evaluate() measures it; it knows Task and Run, and nothing else."""

from eventsam.engine.budget import Budget, Monitor
from eventsam.engine.evaluation import evaluate, summarize, to_device
from eventsam.engine.loop import Batches, ReplaceWorkersError, Summary, fit
from eventsam.engine.run import LOOK_UP_S, LocalRun, Run, Status, Wish
from eventsam.engine.step import ExplodingGradientError, NonFiniteLossError

__all__ = [
    "LOOK_UP_S",
    "Batches",
    "Budget",
    "ExplodingGradientError",
    "LocalRun",
    "Monitor",
    "NonFiniteLossError",
    "ReplaceWorkersError",
    "Run",
    "Status",
    "Summary",
    "Wish",
    "evaluate",
    "fit",
    "summarize",
    "to_device",
]
