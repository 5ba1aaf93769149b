"""What is reported of a reconstruction: volume IoU, Chamfer distances and F-score, per sample."""

from torch import Tensor

from eventsam.metrics.occupancy import volume_iou
from eventsam.metrics.point_cloud import occupancy_scores
from eventsam.metrics.state import MetricState, PerSample

NAMES = ("viou", "chamfer", "cd_p", "cd_n", "f_score")


def reconstruction_metrics(prediction: Tensor, truth: Tensor, sample_index: Tensor) -> dict[str, MetricState]:
    """Return the states of "viou", "chamfer", "cd_p", "cd_n" and "f_score" for bool grids (B, R, R, R).

    Distances are unsquared means in object units (the cube's side is 1); see eventsam.metrics.point_cloud.
    """
    indices = sample_index.cpu().numpy()
    grids = zip(prediction.cpu().numpy(), truth.cpu().numpy(), strict=True)
    scores = [occupancy_scores(predicted, true) for predicted, true in grids]
    states: dict[str, MetricState] = {"viou": PerSample(indices, volume_iou(prediction, truth).cpu().numpy())}
    for name in NAMES[1:]:
        states[name] = PerSample(indices, [getattr(score, name) for score in scores])
    return states
