"""A dataset, a representation, a fusion, a task and a recipe are one file each: nothing else is touched."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

DATASET = '''"""Toy: squares that move."""
from dataclasses import dataclass
import numpy as np
import pyarrow as pa
from eventsam.events import Events

@dataclass(frozen=True)
class Toy:
    name: str = "toy"
    sensor: str = "none"
    splits: tuple = ("train", "val")
    licence: str = "none"
    citation: str = "none"
    provides: tuple = ("rgb", "events")

    def index(self, root):
        n = 24
        ids, t = [f"toy{i}" for i in range(n)], pa.array(range(n), pa.int64())
        names = {"sample_id": ids, "object_id": ids, "shard": ["toy.txt"] * n, "split": ["train"] * 16 + ["val"] * 8}
        return pa.table(names | {"t_us": t, "exposure_start_us": t, "exposure_end_us": t, "num_events": t})

    def read(self, root, row, keys):
        return {"rgb": np.full((3, 32, 32), row["t_us"] * 10, np.uint8)} if "rgb" in keys else {}

    def events(self, root, row, t0, t1):
        return Events.from_arrays([row["t_us"]], [1], [t0], [1], height=32, width=32)

DATASET = Toy()
'''
FUSION = '''"""Toy: add the mean event token through a zero-initialised layer."""
import torch
from torch import nn

class ToyMeanFusion(nn.Module):
    def __init__(self, width, num_heads=8):
        super().__init__()
        self.add = nn.Linear(width, width)
        nn.init.zeros_(self.add.weight)
        nn.init.zeros_(self.add.bias)

    def forward(self, rgb_tokens, event_tokens):
        return rgb_tokens + self.add(event_tokens.mean(dim=1, keepdim=True))

    def gates(self):
        return {"add": float(self.add.weight.detach().abs().mean())}
'''
TASK = '''"""Toy: tell a frame's brightness from its tokens, fused with the events'."""
import torch
from torch import nn
from eventsam.metrics.state import PerSample
from eventsam.models.fusion.injected import Injected
from eventsam.models.vit import ImageEncoder
from eventsam.tasks.task import Task

class Toy(Task):
    reads = ("rgb", "event_image")

    def __init__(self, fusion="toy_mean"):
        super().__init__()
        self.encoder, self.events = ImageEncoder("micro", 32), ImageEncoder("micro", 32)
        self.fusion = Injected(fusion, 32, "final", 2)
        self.head = nn.Linear(32, 1)

    def errors(self, batch):
        fuse = self.fusion.fuse_tokens(self.events(batch["event_image"]).tokens)
        guess = self.head(fuse(self.encoder(batch["rgb"]).tokens).mean(dim=1))[:, 0]
        return (guess - batch["rgb"].float().mean(dim=(1, 2, 3)) / 255).square()

    def forward(self, batch):
        return {"loss": self.errors(batch).mean()}

    def evaluate(self, batch):
        return {"error": PerSample(batch["sample_index"], self.errors(batch))}
'''
RECIPE = '''"""Toy."""
from eventsam.engine import Budget, Monitor
from eventsam.loading import Data
from eventsam.optim import AdamW
from eventsam.recipe import Recipe
from eventsam.representations.toy_dots import ToyDots
from eventsam.spec import spec
from eventsam.tasks.toy import Toy
from eventsam.windows import Window

def recipe():
    return spec(Recipe, task=spec(Toy), data=spec(Data, dataset="toy", root=".", window=spec(Window, length_ms=1.0),
                representation=spec(ToyDots)), optimizer=spec(AdamW), budget=spec(Budget, num_samples=64,
                global_batch_size=8, log_every=1), monitor=spec(Monitor, metric="error", mode="min"))
'''
REPRESENTATION = '''"""Toy: a dot per event."""
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class ToyDots:
    num_channels: int = 3

    def __call__(self, events, t0, t1):
        image = np.zeros((3, events.height, events.width), np.uint8)
        image[:, events.y, events.x] = 255
        return image

    def to_rgb(self, image):
        return image
'''
FILES = {
    "datasets_catalog/toy.py": DATASET,
    "eventsam/models/fusion/toy_mean.py": FUSION,
    "eventsam/tasks/toy.py": TASK,
    "eventsam/recipes/toy.py": RECIPE,
    "eventsam/representations/toy_dots.py": REPRESENTATION,
}
RUN = """
from pathlib import Path
import numpy as np
from eventsam.engine import LocalRun, fit
from eventsam.recipe import load_recipe
from ray_jobs.train import prepare
recipe, built, training, validation = prepare(load_recipe("toy"))
batches = lambda position: (training.batch(np.arange(p, p + 8)) for p in range(position, 64, 8))
summary = fit(built.task, batches, optimizer=built.optimizer, budget=built.budget, run=LocalRun(), folder=Path("out"),
              recipe=recipe, validation=lambda: [validation.batch(np.arange(8))], monitor=built.monitor)
print(summary.status, summary.step, sorted(summary.metrics))
"""


def test_a_copy_of_the_tree_with_five_new_files_trains(tmp_path: Path) -> None:
    for package in ("eventsam", "datasets_catalog", "ray_jobs", "search_spaces"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in FILES.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(content)
    (tmp_path / "toy.txt").write_text("")
    # `-c` puts the current folder first on the path: the copy is what is imported, not the installed project.
    result = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.stdout.split("\n")[-2] == "finished 8 ['error']", result.stderr
