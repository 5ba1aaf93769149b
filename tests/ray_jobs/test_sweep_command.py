"""`eventsam sweep` before its first trial: the table of a dry run, and everything that is refused."""

import json
from pathlib import Path

import pytest
from tests_support import render_small, small_recipe
from typer.testing import CliRunner, Result

from eventsam.checkpoint import CheckpointWriteError
from ray_jobs.__main__ import app
from ray_jobs.sweep import record_of
from ray_jobs.sweep_plan import SweepOptions, check_builds, make_plan
from ray_jobs.sweep_store import SweepFolder
from search_spaces import load_space

SMALL = [
    "--set", "task.model.preset=micro", "--set", "task.model.image_size=32", "--set", "task.model.resolution=8",
    "--set", "data.prepare.0.resolution=8", "--set", "data.prepare.2.height=32", "--set", "data.prepare.2.width=32",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("command"), 4)


@pytest.fixture
def held(root: Path, tmp_path: Path) -> SweepFolder:
    """A sweep that was started, and killed before its first trial."""
    options = SweepOptions(num_trials=3, num_samples=96)
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), load_space("learning_rates"), options)
    folder = SweepFolder(tmp_path / "held")
    folder.write_record(record_of(check_builds(plan)[0]))
    return folder


def sweep(*words: str) -> Result:
    return CliRunner().invoke(app, ["sweep", *words])


def refusal(*words: str) -> str:
    result = sweep(*words)
    assert isinstance(result.exception, ValueError | KeyError | FileNotFoundError | CheckpointWriteError), result
    return str(result.exception.args[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("recontruct learning_rates", "did you mean 'reconstruct'"),
        ("reconstruct learning_rate", "unknown search space 'learning_rate'; did you mean 'learning_rates'"),
        ("reconstruct", "say which RECIPE to sweep over which SPACE"),
        ("reconstruct learning_rates --set optimizer.learning_rat=1", "did you mean 'learning_rate'"),
        ("reconstruct learning_rates --set budget.num_samples=many", "'many' is no int"),
        ("reconstruct fusion_designs", "search space 'fusion_designs': unknown name in 'task.fusion'"),
        ("reconstruct learning_rates --scheduler ash", "unknown scheduler 'ash'; did you mean 'asha'"),
        ("reconstruct learning_rates --search optun", "did you mean 'optuna'"),
        ("reconstruct learning_rates --mode maximum", "unknown mode 'maximum'"),
        ("reconstruct learning_rates", "data.root is required"),
        ("--resume nothing", "there is no sweep in"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_the_nearest(words: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(*words.split(), "--runs", str(tmp_path))


def test_a_resumed_sweep_is_the_one_that_was_stated(held: SweepFolder) -> None:
    resume = ("--resume", "held", "--runs", str(held.path.parent))
    assert "leave --set, --trials away" in refusal(*resume, "--trials", "20", "--set", "seed=1")
    assert "sweeps the space 'learning_rates', not 'fusion_designs'" in refusal(
        "reconstruct", "fusion_designs", *resume
    )
    record = json.loads((held.path / "sweep.json").read_text())
    record["space"]["parameters"]["optimizer.warmup_share"]["choice"] = ["0.02", "0.3"]
    (held.path / "sweep.json").write_text(json.dumps(record))
    assert "warmup_share.choice: ['0.02', '0.3'] -> ['0.02', '0.05', '0.15']" in refusal(*resume)


def test_a_name_is_given_once(held: SweepFolder, root: Path) -> None:
    words = ("reconstruct", "learning_rates", *SMALL, "--set", f"data.root={root}", "--runs", str(held.path.parent))
    assert "go on with --resume held" in refusal(*words, "--name", "held")


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_dry_run_prints_the_table_and_starts_nothing(root: Path, tmp_path: Path) -> None:
    words = ("reconstruct", "learning_rates", *SMALL, "--set", f"data.root={root}", "--runs", str(tmp_path))
    result = sweep(*words, "--trials", "3", "--samples", "96", "--name", "dry", "--dry-run")
    assert result.exit_code == 0, result.exception
    assert [line.split()[0] for line in result.output.splitlines()[:4]] == ["point", "p000", "p001", "p002"]
    assert "3 trials of 96 samples" in result.output
    assert "x 1.0 CPU + 1 CPU for reading" in result.output
    assert not (tmp_path / "dry").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_what_the_cluster_has_no_room_for_is_refused_with_the_sum(root: Path, tmp_path: Path) -> None:
    words = ("reconstruct", "learning_rates", *SMALL, "--set", f"data.root={root}", "--dry-run")
    assert "64 trials x 1.0 CPU + 1 CPU for reading = 65.0 CPUs, but the cluster has" in refusal(
        *words, "--concurrent", "64"
    )
    assert "1 x 2.0 GPU = 2.0 GPUs, but the cluster has" in refusal(*words, "--gpus-per-trial", "2")
    (tmp_path / "file").touch()
    unwritable = refusal(*words[:-1], "--runs", str(tmp_path / "file"))
    assert "cannot be written to" in unwritable
