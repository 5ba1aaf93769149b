"""Inputs side by side: what each sees, what is measured, what is kept."""

import json
from pathlib import Path

import pytest
import torch
import trimesh
from safetensors import safe_open
from torch import Tensor

from eventsam.metrics.reconstruction import NAMES
from eventsam.metrics.shape import ShapeProtocol
from eventsam.models.embedder import ImageEmbedder
from eventsam.models.reconstructor import build_reconstructor
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.predictions import Predictions, folder_of
from eventsam.tasks import compare
from eventsam.tasks.compare import INPUTS, Compare, check_inputs
from eventsam.tasks.fuse import Fuse
from eventsam.tasks.reconstruct import Reconstruct


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    names = ("rgb", "rgb_blurry", "rgb_edi", "event_image")
    images = {name: torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator) for name in names}
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    mask[:, :, 8:20, 10:25] = 1
    occupancy = torch.zeros(2, 8, 8, 8, dtype=torch.bool)
    occupancy[:, 2:6, 2:6, 2:6] = True
    return images | {"mask_blurry": mask, "occupancy": occupancy, "sample_index": torch.tensor([1, 0])}


def fuse(seed: int) -> Fuse:
    torch.manual_seed(seed)
    reconstructor = build_reconstructor("micro", 32, 8, positive_rate=0.4)
    embedder = ImageEmbedder(reconstructor.encoder, reconstructor.projection).student(3)
    task = Fuse(reconstructor, embedder, OccupancyLoss(), "gated", None, 2)
    for parameter in (*task.fusion.parameters(), *embedder.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)
    return task.eval()


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    plain = Reconstruct(build_reconstructor("micro", 32, 8), OccupancyLoss())
    trained = {"fused": fuse(0), "control": fuse(1), "plain": plain}
    monkeypatch.setattr(compare, "trained_task", lambda path: trained[str(path)])
    return trained


def test_each_input_sees_what_its_name_says(runs: dict) -> None:
    task, samples = Compare("fused", "control").eval(), batch()
    before = task.predict(samples)
    assert tuple(before) == INPUTS
    seen_by = {
        "rgb": {"sharp_rgb"},
        "rgb_blurry": {"blurry_rgb", "events_blurry", "control"},
        "rgb_edi": {"edi"},
        "event_image": {"events_blurry", "events_only"},
    }
    for key, expected in seen_by.items():
        after = task.predict(samples | {key: 255 - samples[key]})
        assert {name for name in INPUTS if not torch.equal(before[name], after[name])} == expected, key


def test_only_what_is_compared_is_read_and_loaded() -> None:
    task = Compare("fused", inputs=("events_only",))
    assert task.reads == ("event_image", "mask_blurry", "occupancy", "rgb_blurry")
    assert task.frozen == ("fused",) and task.control is None
    assert "rgb_edi" not in Compare("fused", inputs=("sharp_rgb", "events_blurry")).reads
    assert check_inputs(["edi", "sharp_rgb"]) == ("sharp_rgb", "edi")


def test_metrics_of_every_input_and_of_the_protocol() -> None:
    protocol = ShapeProtocol(num_points=300)
    states = Compare("fused", inputs=("sharp_rgb", "events_only"), protocol=protocol).eval().evaluate(batch())
    metrics = (*NAMES, *protocol.names)
    assert set(states) == {f"{name}/{metric}" for name in ("sharp_rgb", "events_only") for metric in metrics}
    assert all(state.to_array()[:, 0].tolist() == [0, 1] for state in states.values())


@pytest.mark.parametrize("mesh_format", ["ply", "glb"])
def test_predictions_are_kept_under_their_sample_ids(tmp_path: Path, mesh_format: str) -> None:
    kept = Predictions(str(tmp_path / "kept"), mesh_format)  # type: ignore[arg-type]
    kept.prepare(["chair/0/hard", "mug 1/0/hard"])
    samples = batch()
    task = Compare("fused", inputs=("sharp_rgb", "events_blurry"), predictions=kept).eval()
    task.evaluate(samples)
    logits = task.predict(samples)["events_blurry"]
    folder = tmp_path / "kept" / "mug_1" / "0" / "hard"
    with safe_open(folder / "occupancy.safetensors", framework="pt") as file:
        assert set(file.keys()) == {"sharp_rgb", "events_blurry", "truth"}
        assert file.metadata()["sample_id"] == "mug 1/0/hard"
        assert torch.equal(file.get_tensor("events_blurry"), logits[0].half())
        assert torch.equal(file.get_tensor("truth").bool(), samples["occupancy"][0])
    truth = trimesh.load_mesh(folder / f"truth.{mesh_format}", process=True)
    assert truth.is_watertight and truth.volume > 0
    assert abs(truth.bounds).max() == pytest.approx(0.25)
    assert (tmp_path / "kept" / "chair" / "0" / "hard" / f"truth.{mesh_format}").exists()
    assert json.loads((tmp_path / "kept" / "samples.json").read_text())[0] == "chair/0/hard"


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown input 'event_only'.*events_only"):
        Compare("fused", inputs=("event_only",))
    with pytest.raises(ValueError, match="needs a control's run"):
        Compare("fused", inputs=("control",))
    with pytest.raises(ValueError, match="no input to compare"):
        Compare("fused", inputs=())
    with pytest.raises(ValueError, match="trained a Reconstruct, which fuses no events"):
        Compare("plain", inputs=("sharp_rgb",))
    with pytest.raises(ValueError, match=r"unknown mesh format 'obj'"):
        Predictions("x", "obj")  # type: ignore[arg-type]
    for sample_id in ("..", "a/../b", ""):
        with pytest.raises(ValueError, match="names no folder"):
            folder_of(sample_id)
