"""Representations of many windows at once on a GPU, bit for bit what the CPU kernels draw."""

from eventsam.representations.gpu.batch import EventBatch
from eventsam.representations.gpu.dispatch import represent

__all__ = ["EventBatch", "represent"]
