"""What the numbers say, in sentences: computed, and as plain when they disappoint as when they please."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eventsam.report.data import Difference, ResultRow, Share
from eventsam.report.palette import BLURS, direction_of, in_order
from eventsam.report.summary import OURS, interval, mean_over_seeds, number, percent

Judgement = Literal["better", "worse", "unclear", "missing"]
Shares = Mapping[str, Mapping[str, Share]]


@dataclass(frozen=True)
class _Level:
    """The numbers of one blur level and metric."""

    blur: str
    metric: str
    rows: Sequence[ResultRow]
    differences: Sequence[Difference]
    gap_closed: Shares

    def pairs(self, first: str, second: str) -> list[Difference]:
        wanted = (first, second, self.blur, self.metric)
        return [row for row in self.differences if (row.first, row.second, row.blur, row.metric) == wanted]

    def judge(self, first: str, second: str) -> Judgement:
        return judge(self.pairs(first, second))

    def share(self, name: str) -> Share:
        return self.gap_closed.get(name, {}).get(self.blur, Share(None, None, None))


def verdict(
    rows: Sequence[ResultRow], differences: Sequence[Difference], gap_closed: Shares, metric: str = "viou"
) -> tuple[str, ...]:
    """Return what the results show, hardest blur first: gain over blurry RGB, gap closed, control, EDI.

    One sentence or two per claim, each opening with its level ("Hard blur: ..."). A gain counts as shown only where the
    whole 95 % interval of the paired difference lies on the better side for every seed. `gap_closed` must belong to
    `metric`. Levels without any row of `metric` are left out.
    """
    blurs = in_order((row.blur for row in rows if row.metric == metric), BLURS)
    sentences = []
    for blur in reversed(blurs):
        level = _Level(blur, metric, rows, differences, gap_closed)
        claims = (_gain(level), _gap(level), _control(level), _edi(level))
        sentences += [f"{blur.capitalize()} blur: {claim}" for claim in claims if claim]
    return tuple(sentences)


def judge(differences: Sequence[Difference]) -> Judgement:
    """Return whether the first input of these paired differences (one per seed) is shown to beat the second."""
    if not differences:
        return "missing"
    if all(_lies_better(row) for row in differences):
        return "better"
    return "worse" if all(_lies_worse(row) for row in differences) else "unclear"


def _lies_better(row: Difference) -> bool:
    return row.low > 0 if direction_of(row.metric).higher_is_better else row.high < 0


def _lies_worse(row: Difference) -> bool:
    return row.high < 0 if direction_of(row.metric).higher_is_better else row.low > 0


def _numbers(level: _Level, first: str, second: str) -> str:
    """Return the differences of every seed: `+0.120 [+0.080, +0.160] and +0.110 [+0.070, +0.150] (seeds 0, 1)`."""
    pairs = level.pairs(first, second)
    texts = [f"{number(row.mean, signed=True)} {interval(row.low, row.high, signed=True)}".strip() for row in pairs]
    seeds = f" (seeds {', '.join(str(row.seed) for row in pairs)})" if len(pairs) > 1 else ""
    return " and ".join(texts) + seeds


def _gain(level: _Level) -> str:
    direction = direction_of(level.metric)
    numbers = f"{direction.label} {_numbers(level, OURS, 'blurry_rgb')}"
    side, other = ("above", "below") if direction.higher_is_better else ("below", "above")
    return {
        "better": f"Events + blurry RGB beats blurry RGB alone: {numbers}, the whole 95 % interval {side} zero.",
        "worse": f"Worse than blurry RGB alone: {numbers}, the whole 95 % interval {other} zero.",
        "unclear": f"No gain over blurry RGB alone is shown: {numbers}, with the 95 % interval not wholly {side} zero.",
        "missing": "Events + blurry RGB was not compared with blurry RGB alone.",
    }[level.judge(OURS, "blurry_rgb")]


def _gap(level: _Level) -> str:
    share = level.share(OURS)
    sharp, blurry = (
        number(mean_over_seeds(level.rows, name, level.blur, level.metric)) for name in ("sharp_rgb", "blurry_rgb")
    )
    gap = level.judge("sharp_rgb", "blurry_rgb")
    if share.share is None and gap == "better":
        return f"What share of the gap is closed was not computed: sharp RGB {sharp}, blurry RGB {blurry}."
    if share.share is None:
        return f"No share of the gap is stated: sharp RGB ({sharp}) is not clearly ahead of blurry RGB ({blurry})."
    if share.low is None:
        return (
            f"A share of {percent(share.share)} of the gap comes out, but no 95 % interval of it: in some resamples"
            " there is no gap to divide by, so it is not told apart from zero."
        )
    bounds = f" [{percent(share.low)}, {percent(share.high)}]"
    if share.share < 0:
        return f"The gap to sharp RGB is widened by {percent(-share.share)}{bounds}, not closed."
    caveat = " Sharp RGB itself is not shown to beat blurry RGB here, so that share means little."
    caveat = caveat if gap in ("unclear", "worse") else ""
    return f"{percent(share.share)}{bounds} of the gap between blurry and sharp RGB is closed.{caveat}"


def _control(level: _Level) -> str:
    gain, beyond = level.judge(OURS, "blurry_rgb"), level.judge(OURS, "control")
    numbers, reached = _numbers(level, OURS, "control"), _reach(level, "control")
    if beyond == "missing":
        return "No control was compared, so adapting to blur alone may be what helps."
    if beyond == "worse":
        return f"The control, which sees no events{reached}, does better: ours minus control {numbers}."
    if beyond == "better":
        if gain != "better":
            return f"Ahead of the control, which sees no events{reached}: {numbers}."
        return f"The control{reached} {_explained(level)}: events add {numbers}."
    apart = f"ours minus control {numbers}, not clear of zero"
    if gain != "better":
        return f"Not told apart from the control, which sees no events{reached}: {apart}."
    if _control_gains(level):
        return f"The control{reached} explains the gain: {apart}. What helps is adapting to blur, not the events."
    return f"The gain is not shown to come from the events: {apart}{reached}."


def _control_gains(level: _Level) -> bool:
    """Return whether the control alone is shown to beat blurry RGB."""
    judged = level.judge("control", "blurry_rgb")
    low = level.share("control").low
    return judged == "better" if judged != "missing" else low is not None and low > 0


def _explained(level: _Level) -> str:
    """Return how much of the gain a control explains that is itself left behind."""
    ours, control = level.share(OURS).share, level.share("control").share
    if ours is None or control is None or not 0 < control < ours:
        return "does not explain the gain"
    part = "most" if control >= ours / 2 else "a part"
    return f"explains {part} of the gain, {percent(control / ours)} of what is closed, but not all"


def _edi(level: _Level) -> str:
    reached, numbers = _reach(level, "edi"), _numbers(level, OURS, "edi")
    return {
        "missing": f"EDI, then RGB{reached}, was not compared with ours." if reached else "",
        "better": f"Ahead of EDI, then RGB{reached}: {numbers}.",
        "worse": f"EDI, then RGB{reached}, does better: ours minus EDI {numbers}.",
        "unclear": f"Not told apart from EDI, then RGB{reached}: ours minus EDI {numbers}.",
    }[level.judge(OURS, "edi")]


def _reach(level: _Level, name: str) -> str:
    """Return ` (closes 12 %)` or ` (widens it by 12 %)` for an input's part of the gap, empty where unknown."""
    share = level.share(name).share
    if share is None:
        return ""
    return f" (closes {percent(share)})" if share >= 0 else f" (widens the gap by {percent(-share)})"
