"""Stage-1 throughput of the engine: frozen teacher forward and student step on synthetic tensors, no Ray, no data.

python -m benchmarks.distill_throughput --preset vit_large_patch14_reg4_dinov2 --image-size 518 --batch-size 32
Prints images per second and the share of the device's bf16 peak that the arithmetic of the two networks uses; the peak
is measured with a large matrix product in the same process.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from eventsam.engine import Budget, LocalRun, fit
from eventsam.models.embedder import ImageEmbedder
from eventsam.models.fusion.injected import default_injection_blocks
from eventsam.models.projection import Projection
from eventsam.models.vit import ImageEncoder
from eventsam.objectives.distillation import FeatureLoss
from eventsam.optim import AdamW
from eventsam.tasks.distill import Distill


def batches(batch_size: int, image_size: int, device: torch.device) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the same random uint8 batch, already on the device."""
    shape = (batch_size, 3, image_size, image_size)
    batch = {key: torch.randint(0, 256, shape, dtype=torch.uint8, device=device) for key in ("rgb", "event_image")}
    batch["sample_index"] = torch.arange(batch_size, device=device)
    while True:
        yield batch


def flops_per_image(encoder: ImageEncoder, trained_blocks: int) -> float:
    """Multiply-adds counted as two: teacher forward, student forward, gradients of activations and trained weights.

    Per block and token 24 D^2 (qkv, projection, MLP of ratio 4) plus 4 N D of attention; gradients of activations cost
    the forward again, gradients of weights 16 D^2 for the MLPs that train. Embeddings and projections are left out.
    """
    tokens = encoder.grid[0] * encoder.grid[1] + encoder.num_prefix_tokens
    width, blocks = encoder.width, encoder.num_blocks
    forward = blocks * tokens * (24 * width**2 + 4 * tokens * width)
    # Attention's backward recomputes the scores: 2.5 times its forward instead of 2.
    backward = blocks * tokens * (24 * width**2 + 10 * tokens * width)
    return 2 * forward + backward + trained_blocks * tokens * 16 * width**2


def peak_flops(device: torch.device, size: int) -> float:
    """Measure a square bf16 matrix product on random values."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    _wait(device)
    started = time.perf_counter()
    for _ in range(10):
        a @ b
    _wait(device)
    return 10 * 2 * size**3 / (time.perf_counter() - started)


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = ImageEncoder(options.preset, options.image_size)
    teacher = ImageEmbedder(encoder, Projection(encoder.width, encoder.width))
    blocks = default_injection_blocks(encoder.num_blocks)
    budget = Budget(
        num_samples=options.steps * options.batch_size,
        global_batch_size=options.batch_size,
        log_every=max(1, options.steps // 4),
        precision="bfloat16" if device.type == "cuda" else "float32",
        compile=options.compile,
    )
    run = LocalRun(device=device)
    with TemporaryDirectory() as folder:
        fit(
            Distill(teacher, FeatureLoss(normalise="layer"), blocks),
            lambda position: batches(options.batch_size, options.image_size, device),
            optimizer=AdamW(),
            budget=budget,
            run=run,
            folder=Path(folder),
        )
    # The first record holds warm-up and compilation; the rest are steady.
    seconds = min(record["step_s"] for record in run.records[1:])
    rate = options.batch_size / seconds
    peak = peak_flops(device, 8192 if device.type == "cuda" else 1024)
    used = rate * flops_per_image(encoder, len(blocks))
    result = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", **vars(options),
              "images_per_s": rate, "share_of_bf16_peak": used / peak, "bf16_peak_tflops": peak / 1e12}  # fmt: skip
    print(json.dumps(result))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
