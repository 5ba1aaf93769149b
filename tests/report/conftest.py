"""A report of made-up but structured results: solids, frames, curves that look like the real ones."""

import numpy as np
import pytest
from scipy import ndimage

from eventsam.report.data import Difference, ReportData, ResultRow, SampleRow, Share
from eventsam.report.verdict import verdict

INPUTS = {"sharp_rgb": 0.0, "events_blurry": 0.45, "control": 0.85, "edi": 0.7, "blurry_rgb": 1.0}
LOSS = {"easy": 0.05, "medium": 0.12, "hard": 0.26}


def solid(kind: int, resolution: int = 32) -> np.ndarray:
    centres = (np.arange(resolution) + 0.5) / resolution - 0.5
    x, y, z = np.meshgrid(centres, centres, centres, indexing="ij")
    if kind == 0:
        radius = np.hypot(x, y)
        body = (radius < 0.28) & (abs(z) < 0.36) & ~((radius < 0.22) & (z > -0.3))
        return body | ((np.hypot(np.hypot(x - 0.28, z) - 0.18, y) < 0.045) & (radius > 0.25))
    if kind == 1:
        seat = (abs(x) < 0.28) & (abs(y) < 0.28) & (abs(z) < 0.04)
        back = (abs(x) < 0.28) & (abs(y - 0.24) < 0.045) & (z > 0) & (z < 0.45)
        legs = (abs(abs(x) - 0.24) < 0.045) & (abs(abs(y) - 0.24) < 0.045) & (z < 0) & (z > -0.45)
        return seat | back | legs
    return (x / 0.4) ** 2 + (y / 0.25) ** 2 + (z / 0.3) ** 2 + 0.35 * np.sin(9 * x) * np.cos(8 * z) < 1


def worse(grid: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    field = ndimage.gaussian_filter(grid.astype(float), 0.3 + 2.2 * amount)
    noise = ndimage.gaussian_filter(rng.standard_normal(grid.shape), 2.0)
    return field + amount * 2.0 * noise > 0.5


def frames(grid: np.ndarray, rng: np.random.Generator, blur: int) -> dict[str, np.ndarray]:
    height = np.argmax(grid, axis=1).T[::-1] / len(grid)
    inside = grid.any(axis=1).T[::-1]
    shade = np.where(inside, 0.9 - 0.5 * height, 0.0)
    shade = np.kron(np.pad(shade, ((0, 0), (6, 6))), np.ones((4, 4)))
    ground = ndimage.gaussian_filter(rng.random(shade.shape), 6)
    ground = (ground - ground.min()) / np.ptp(ground)
    full = np.where(shade > 0, shade, 0.25 + 0.5 * ground)
    sharp = np.stack([full * tone for tone in (1.0, 0.78, 0.55)])
    blurry = ndimage.uniform_filter1d(sharp, blur, axis=2)
    slope = ndimage.sobel(full, axis=1)
    events = np.zeros_like(sharp)
    events[0], events[2] = slope > 0.25, slope < -0.25
    events[1] = (abs(slope) > 0.25) * rng.random(full.shape)
    deblurred = blurry + 0.6 * (sharp - blurry) + 0.08 * rng.standard_normal(sharp.shape) * (abs(slope) > 0.1)
    pictures = {"blurry": blurry, "events": events, "edi": deblurred, "sharp": sharp}
    return {name: (255 * np.clip(image, 0, 1)).astype(np.uint8) for name, image in pictures.items()}


def sample(kind: int, blur: str, rng: np.random.Generator) -> SampleRow:
    truth = solid(kind)
    shapes = {"truth": truth}
    for name, share in INPUTS.items():
        shapes[name] = worse(truth, 0.15 + 2.4 * LOSS[blur] * share, rng)
    scores = {
        name: float((shape & truth).sum() / (shape | truth).sum()) for name, shape in shapes.items() if name != "truth"
    }
    title = ("mug_07", "chair_02", "stone_11")[kind]
    return SampleRow(title, blur, frames(truth, rng, {"easy": 5, "medium": 11, "hard": 21}[blur]), shapes, scores)


def rows_of(rng: np.random.Generator, ours: float = 0.45) -> list[ResultRow]:
    rows = []
    for seed in (0, 1):
        for blur, loss in LOSS.items():
            for name, share in (INPUTS | {"events_blurry": ours}).items():
                viou = 0.72 - loss * share + 0.008 * rng.standard_normal()
                chamfer = 0.021 + 0.09 * loss * share + 0.0008 * rng.standard_normal()
                rows.append(ResultRow(name, blur, "viou", viou, viou - 0.03, viou + 0.03, 24, seed))
                rows.append(ResultRow(name, blur, "chamfer", chamfer, chamfer - 0.003, chamfer + 0.004, 24, seed))
                rows.append(ResultRow(name, blur, "f_score", viou + 0.1, viou + 0.07, viou + 0.13, 24, seed))
    return rows


def differences_of(ours: float = 0.45, half_width: float = 0.03) -> list[Difference]:
    differences = []
    for seed in (0, 1):
        for blur, loss in LOSS.items():
            shares = INPUTS | {"events_blurry": ours}
            pairs = [("events_blurry", second) for second in ("blurry_rgb", "control", "edi")]
            for first, second in [*pairs, ("sharp_rgb", "blurry_rgb")]:
                mean = loss * (shares[second] - shares[first])
                bounds = (mean - half_width, mean + half_width)
                differences.append(Difference(first, second, blur, "viou", mean, *bounds, 24, seed))
    return differences


def curve(num_steps: int, start: float, end: float, rng: np.random.Generator) -> list[dict[str, float]]:
    records = []
    for step in range(5, num_steps + 1, 5):
        loss = end + (start - end) * np.exp(-4 * step / num_steps)
        record = {
            "step": float(step),
            "samples": 16.0 * step,
            "loss": float(loss * (1 + 0.08 * rng.standard_normal())),
            "gradient_norm": float(1 + rng.random()),
            "learning_rate": 1e-3 * (1 - step / num_steps),
            "data_wait_s": 0.004 * rng.random(),
            "step_s": 0.11 + 0.02 * rng.random(),
        }
        if step % 50 == 0:
            record["val/loss"] = float(1.1 * loss)
            record["val/viou"] = float(0.7 - 0.5 * loss)
        records.append(record)
    return records


def example_report() -> ReportData:
    rng = np.random.default_rng(0)
    rows, differences = rows_of(rng), differences_of()
    gap_closed = {
        name: {
            blur: Share(1 - INPUTS[name] - 0.02, 0.88 - INPUTS[name], 1.08 - INPUTS[name])
            for blur in ("medium", "hard")
        }
        | {"easy": Share(None, None, None)}
        for name in ("events_blurry", "edi", "control")
    }
    stages = ("teacher", "distill", "fuse, seed 0", "fuse, seed 1", "control, seed 0", "control, seed 1")
    return ReportData(
        title="Event-SAM3D demo",
        subtitle="Shapes from motion-blurred pictures, with and without events, on objects never seen in training.",
        rows=rows,
        differences=differences,
        gap_closed=gap_closed,
        losses={stage: curve(400, 0.9, 0.2 + 0.03 * i, rng) for i, stage in enumerate(stages)},
        samples=[sample(0, "hard", rng), sample(1, "hard", rng), sample(2, "medium", rng)],
        seconds={"ray start": 8.2, "render": 61.0, "teacher": 90.5, "distill": 70.0, "fuse": 120.0, "evaluate": 25.0},
        peak_memory_bytes=4_300_000_000,
        commands=("eventsam demo --quick --out demo", "mlflow ui --backend-store-uri sqlite:///demo/mlflow.db"),
        hashes={"code": "9d1f6c0a", "recipe": "5b1e22aa", "catalog": "c0ffee42"},
        facts={"objects": "40 for training, 24 held out", "preset": "tiny, 64 px, 32 cells"},
        notes=verdict(rows, differences, gap_closed),
    )


@pytest.fixture(scope="session")
def example() -> ReportData:
    return example_report()


@pytest.fixture
def make_rows():
    return rows_of


@pytest.fixture
def make_differences():
    return differences_of
