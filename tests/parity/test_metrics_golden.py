"""Shape metrics against the golden vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from eventsam.metrics.occupancy import volume_iou
from eventsam.metrics.point_cloud import point_cloud_scores

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
pytestmark = pytest.mark.skipif(not (GOLDEN / "metrics_pointcloud.npz").is_file(), reason="no golden vectors here")


def test_volume_iou() -> None:
    expected = json.loads((GOLDEN / "metrics_voxel_iou.json").read_text())["expected"]
    grids = np.load(GOLDEN / "metrics_voxel_iou.npz")
    read = lambda name: torch.from_numpy(np.unpackbits(grids[name]).astype(bool).reshape(1, 64, 64, 64))  # noqa: E731
    cases = [name for name in expected if name != "prob_thresholds"]
    assert len(cases) == 6
    for name in cases:
        iou = volume_iou(read(f"{name}_pred"), read(f"{name}_gt")).item()
        # Two empty grids are undefined in the golden file, 1 by our convention.
        assert iou == (1.0 if expected[name]["iou"] is None else expected[name]["iou"])
    target = torch.from_numpy(grids["prob_gt"])[None]
    for threshold, iou in expected["prob_thresholds"].items():
        predicted = torch.from_numpy(grids["prob"] > np.float32(threshold))[None]
        assert volume_iou(predicted, target).item() == pytest.approx(iou, abs=1e-12)


def test_point_cloud_scores() -> None:
    expected = json.loads((GOLDEN / "metrics_pointcloud.json").read_text())["expected"]
    clouds = np.load(GOLDEN / "metrics_pointcloud.npz")
    assert len(expected) == 8
    for name, values in expected.items():
        for threshold in ("0.01", "0.02", "0.05"):
            scores = point_cloud_scores(clouds[f"{name}_pred"], clouds[f"{name}_gt"], float(threshold))
            assert scores.cd_p == pytest.approx(values["pred_to_gt_mean"], rel=1e-12), name
            assert scores.cd_n == pytest.approx(values["gt_to_pred_mean"], rel=1e-12), name
            assert scores.chamfer == pytest.approx(values["chamfer_l1_half"], rel=1e-12), name
            assert scores.f_score == pytest.approx(values[f"fscore@{threshold}"], abs=1e-12), name
