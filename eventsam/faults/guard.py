"""The explosion rule: a gradient norm far above its running median stops the run, before the step is taken."""

import statistics
from collections import deque
from dataclasses import dataclass, field

WINDOW = 128
MIN_STEPS = 16


@dataclass
class GradientGuard:
    """Judges each step's gradient norm, taken before clipping, against the last `WINDOW` norms.

    A norm is an explosion where it exceeds `max_ratio` times their median and also `floor` (the clipping norm: what
    clipping leaves alone is no explosion). The first `MIN_STEPS` steps after a start are not judged. `max_ratio` 0
    judges nothing.
    """

    max_ratio: float
    floor: float
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def judge(self, norm: float) -> str | None:
        """Return why the norm is an explosion, or None; such a norm does not enter the history."""
        if self.max_ratio and len(self.norms) >= MIN_STEPS:
            median = statistics.median(self.norms)
            if norm > max(self.floor, self.max_ratio * median):
                times = norm / max(median, 1e-300)
                return f"gradient norm {norm:.4g} is {times:.4g} times its running median {median:.4g}"
        self.norms.append(norm)
        return None
