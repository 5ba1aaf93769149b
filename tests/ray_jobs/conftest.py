"""One local Ray for all tests of this folder."""

from collections.abc import Iterator

import pytest

from ray_jobs.cluster import connected


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of four logical CPUs on this machine."""
    with connected(object_store_mib=200):
        yield
