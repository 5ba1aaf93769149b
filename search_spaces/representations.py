"""What the event encoder is shown: representation, window length, and Tencode's background and time axis.

eventsam sweep distill representations --set data.root=CATALOG --set task.teacher.checkpoint=RUN. The teacher sees RGB
whatever the events look like, so its cosine compares all of them.
"""

from eventsam.representations.histogram import Histogram
from eventsam.representations.tencode import Tencode
from eventsam.representations.voxel_grid import VoxelGrid
from eventsam.spec import spec
from search_spaces import Choice, Options, Range

METRIC, MODE, RECIPE = "cosine", "max", "distill"

SPACE = {
    # The event encoder's first layer has as many channels as the representation: the two only change together.
    "representation": Options(
        {
            "tencode": {"data.representation": spec(Tencode), "task.in_channels": 3},
            "voxel_grid_5": {
                "data.representation": spec(VoxelGrid, num_bins=5, normalize=True),
                "task.in_channels": 5,
            },
            "histogram_5": {"data.representation": spec(Histogram, num_bins=5), "task.in_channels": 10},
        }
    ),
    "data.window.length_ms": Choice((2.5, 5.0, 10.0, 20.0)),
    "data.representation.background": Choice(("black", "white"), only={"representation": ("tencode",)}),
    "data.representation.reference": Choice(("window", "events")),
    "optimizer.learning_rate": Range(1e-3, 4e-3, log=True),
}
