"""Several evaluations in one report: each seed's numbers side by side, and what all runs say together."""

from collections.abc import Sequence

import numpy as np

from eventsam.report.data import ReportData
from eventsam.report.measured import Measured, differences_of, rows_of, shares_of
from eventsam.report.verdict import verdict


def pooled(runs: Sequence[Measured]) -> Measured:
    """Return the samples of all runs as one; an object of one catalog stays one object in all runs.

    So an interval over objects takes the runs as they are and asks what other objects would have given. Only inputs and
    metrics that all runs have are kept. Raises ValueError where none are.
    """
    names = [name for name in runs[0].values if all(name in run.values for run in runs)]
    if not names:
        raise ValueError("the runs have no input and metric in common")
    same = len({run.catalog for run in runs}) == 1
    objects = [run.objects if same else np.char.add(f"{run.catalog[:8]}:", run.objects) for run in runs]
    return Measured(
        sample_ids=np.concatenate([run.sample_ids for run in runs]),
        objects=np.concatenate(objects),
        blurs=np.concatenate([run.blurs for run in runs]),
        values={name: np.concatenate([run.values[name] for run in runs]) for name in names},
        seed=runs[0].seed,
        catalog=runs[0].catalog if same else "several",
    )


def merged_report(titles: Sequence[str], runs: Sequence[Measured], commands: Sequence[str] = ()) -> ReportData:
    """Return one report of several runs: every seed's rows and differences, pooled ones, and shares over all runs.

    The verdict calls a gain shown only where every seed shows it. Raises ValueError for fewer than two runs, and for
    two runs of one seed, which a table by seed cannot tell apart.
    """
    seeds = [run.seed for run in runs]
    if len(runs) < 2 or len(set(seeds)) != len(seeds):
        listed = ", ".join(f"{title}: seed {seed}" for title, seed in zip(titles, seeds, strict=True))
        raise ValueError(f"merging takes two or more runs of different seeds, got {listed}")
    together = pooled(runs)
    rows = [row for run in runs for row in rows_of(run)]
    differences = [row for run in runs for row in differences_of(run)]
    shares = shares_of(together)
    return ReportData(
        title=f"{len(runs)} runs",
        subtitle=", ".join(titles),
        rows=rows,
        differences=differences,
        gap_closed=shares,
        pooled_rows=rows_of(together),
        pooled_differences=differences_of(together),
        commands=commands,
        facts={
            "seeds": ", ".join(map(str, seeds)),
            "objects": "the same in all runs" if together.catalog != "several" else "other ones in every run",
            "pooled intervals": "over objects, the runs as they are",
        },
        notes=verdict(rows, differences, shares),
    )
