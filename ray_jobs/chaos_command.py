"""`eventsam chaos RECIPE --kill-every S`: does a run that is killed again and again end where a calm one does?"""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

RecipeName = Annotated[str, typer.Argument(help="A recipe; without data.root, it is cut down to a few small objects.")]
KillEvery = Annotated[float, typer.Option(help="Mean seconds between two kills.")]
Kills = Annotated[int, typer.Option(min=0, help="How many kills.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the schedule.")]
Workers = Annotated[int, typer.Option(min=1, help="Ray Train workers.")]
NumNodes = Annotated[int, typer.Option("--nodes", min=1, help="Logical Ray nodes beside the head.")]
NodeShare = Annotated[float, typer.Option(help="Share of the kills that hit a whole node.")]
StepSeconds = Annotated[float, typer.Option(min=0.0, help="Draw every step out to this many seconds.")]
NumSteps = Annotated[int, typer.Option("--steps", min=0, help="Steps of the run; 0: enough for all kills.")]
CheckpointEvery = Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")]
Out = Annotated[Path, typer.Option(help="Folder of the two runs; a calm run that is there is used again.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a recipe value, as in task.blocks=5,11.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this JSON file.")]


def chaos(
    recipe: RecipeName,
    kill_every: KillEvery = 30.0,
    kills: Kills = 3,
    seed: Seed = 0,
    workers: Workers = 2,
    nodes: NumNodes = 2,
    node_share: NodeShare = 0.25,
    step_seconds: StepSeconds = 0.2,
    steps: NumSteps = 0,
    checkpoint_every: CheckpointEvery = 10,
    out: Out = Path("chaos"),
    changes: Set = None,
    json_file: JsonFile = None,
) -> None:
    """Train a small job calmly and under kills of workers and nodes; print goodput, restarts and what differs.

    Exit codes: 0 ids and losses equal the calm run's, 1 they differ or the run did not get through.
    """
    from eventsam.catalog import absolute
    from eventsam.recipe import load_recipe, recipe_hash
    from ray_jobs.__main__ import changed
    from ray_jobs.chaos import Job, run_chaos, small_job
    from ray_jobs.chaos_plan import schedule

    plan = schedule(kill_every, kills, seed, node_share if nodes > 1 else 0.0)
    lasting = math.ceil((sum(kill.after_s for kill in plan) + kill_every / 2) / max(step_seconds, 0.01))
    folder = absolute(out)
    spec = small_job(changed(load_recipe(recipe), changes), folder, steps or lasting, checkpoint_every)
    place = folder / f"{recipe}-{recipe_hash(spec)}-{workers}w-{step_seconds:g}s"
    number = len(list(place.glob("chaos-*")))
    report = run_chaos(Job(spec, workers, nodes, step_seconds), place, f"chaos-{number}", plan)
    report = {"recipe": recipe, "seed": seed, "kill_every_s": kill_every, "folder": str(place), **report}
    typer.echo(text_of(report))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=1))
    if not (report["ids_equal"] and report["losses_equal"]):
        raise typer.Exit(1)


def text_of(report: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [
        f"{report['recipe']}: {report['steps']} steps on {report['workers']} workers and {report['nodes']} nodes, "
        f"{len(report['kills'])} of {report['kills_planned']} kills (seed {report['seed']})"
    ]
    for kill in report["kills"]:
        back = "not seen" if kill["back_after_s"] is None else f"{kill['back_after_s']:.1f} s later"
        lines.append(f"  {kill['at_s']:7.1f} s  {kill['name']:<16} after step {kill['step']:<5} next step {back}")
    if len(report["kills"]) < report["kills_planned"]:
        lines.append("the run was over before the last kills: give it more --steps")
    lines += [
        f"restarts {report['restarts']}, steps redone {report['redone_steps']}",
        f"goodput {report['goodput']:.1%} ({report['steps']} steps of {report['calm_step_s']:.3f} s in "
        f"{report['wall_s']:.0f} s; calm {report['calm_wall_s']:.0f} s)",
        f"sample ids equal the calm run's: {_yes(report['ids_equal'], report['ids_problem'])}",
        f"losses equal the calm run's: {_yes(report['losses_equal'], _loss_problem(report))}",
        f"runs: {report['folder']}",
    ]
    return "\n".join(lines)


def _yes(equal: bool, problem: str | None) -> str:
    return "yes" if equal else f"NO ({problem})"


def _loss_problem(report: dict[str, Any]) -> str:
    return f"from step {report['first_different_step']}, by up to {report['largest_difference']:.3g}"
