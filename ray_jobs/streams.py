"""Streams that are cut by the number of workers there turn out to be, at every start of a worker group.

The processes that cut them import this module; torch and the models stay out of it to keep that quick.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray.data
from ray.data import DataIterator, ExecutionOptions
from ray.train import DataConfig

from eventsam.loading import Loader
from eventsam.order import Layout
from ray_jobs import pipeline

if TYPE_CHECKING:
    from eventsam.checkpoint import Storage


@dataclass(frozen=True)
class SizedStream:
    """The samples at positions [start, stop) in global batches, for any number of workers."""

    loader: Loader
    start: int
    stop: int
    global_batch_size: int

    def layout(self, num_workers: int) -> Layout:
        """Return how the positions are cut among that many workers.

        Raises:
            ValueError: a global batch cannot be shared equally by them.
        """
        return pipeline.layout_of(self.loader, self.start, self.stop, self.global_batch_size, num_workers)

    def dataset(self, num_workers: int) -> ray.data.Dataset:
        """Return the samples as a lazy dataset whose blocks go to the workers in turn."""
        return pipeline.stream(self.loader, self.layout(num_workers))


def rest_of(stream: SizedStream, storage: "Storage") -> SizedStream:
    """Return the samples after the newest checkpoint; asked anew at every start of the workers."""
    newest = storage.newest()
    return dataclasses.replace(stream, start=storage.state(newest).position if newest else 0)


class StreamsBySize(DataConfig):
    """Makes datasets of sized streams when Ray Train has started a worker group and knows its size."""

    def __init__(self, options: ExecutionOptions) -> None:
        super().__init__(execution_options=options)

    def configure(
        self, datasets: Mapping[str, SizedStream], world_size: int, *arguments: Any, **more: Any
    ) -> list[dict[str, DataIterator]]:
        """Return each worker's share of every stream."""
        made = {name: stream.dataset(world_size) for name, stream in datasets.items()}
        return super().configure(made, world_size, *arguments, **more)
