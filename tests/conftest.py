"""Fixtures that several parts share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
