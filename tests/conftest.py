"""Settings that all tests share."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "2")

# The first call of a compiled kernel takes as long as its compilation: hypothesis would report that as unreliable.
settings.register_profile("eventsam", deadline=None)
settings.load_profile("eventsam")
