"""A plan as a table: predicted numbers with their units, what could not be computed, what does not fit."""

import math
from dataclasses import dataclass, field
from typing import Any

SECONDS_PER_DAY = 86_400
SHOWN = {"bytes": (("B", "KiB", "MiB", "GiB", "TiB"), 1024), "number": (("", "k", "M", "G", "T"), 1000)}


@dataclass(frozen=True)
class Row:
    """One predicted number; `unit` is bytes, bytes/s, s, number or 1/s."""

    name: str
    value: float
    unit: str
    note: str = ""


@dataclass
class Plan:
    """Predictions for one recipe on one kind of worker; `missing` says what could not be computed and why."""

    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, note: str = "") -> None:
        """Append a row."""
        self.rows.append(Row(name, value, unit, note))

    def value(self, name: str) -> float:
        """Return the number of a row; raise KeyError where it was not computed."""
        return next(row.value for row in self.rows if row.name == name)


def text_of(plan: Plan) -> str:
    """Return a plan as a table for people."""
    width = max((len(row.name) for row in plan.rows), default=0)
    lines = [f"{row.name:<{width}}  {shown(row.value, row.unit):>12}  {row.note}".rstrip() for row in plan.rows]
    lines += [f"not computed: {reason}" for reason in plan.missing]
    lines += [f"does not fit: {problem}" for problem in plan.problems]
    return "\n".join(lines)


def shown(value: float, unit: str) -> str:
    """Return a number as people read it: 12.3 MiB, 45 ms, 1.2 M."""
    if unit == "s":
        for limit, name, factor in ((1e-3, "us", 1e6), (1, "ms", 1e3), (120, "s", 1), (7200, "min", 1 / 60)):
            if value < limit:
                return f"{value * factor:.3g} {name}"
        return f"{value / 3600:.3g} h" if value < 2 * SECONDS_PER_DAY else f"{value / SECONDS_PER_DAY:.3g} days"
    if unit == "1/s":
        return f"{value:.3g}/s"
    kind, _, per = unit.partition("/")
    names, factor = SHOWN[kind]
    place = min(len(names) - 1, int(math.log(value, factor))) if value >= 1 else 0
    return f"{value / factor**place:.4g} {names[place]}{'/' + per if per else ''}".strip()


def to_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON-ready values."""
    rows = {row.name: {"value": row.value, "unit": row.unit, "note": row.note} for row in plan.rows}
    return {"predicted": rows, "not_computed": plan.missing, "problems": plan.problems}
