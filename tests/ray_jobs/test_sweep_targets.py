"""What trials share of a frozen teacher: its weights and its answers, to the bit."""

import threading
import time
from pathlib import Path

import pytest
import torch
from sweep_support import small_fuse
from tests_support import render_small, small_recipe

from datasets_catalog import load_dataset
from eventsam.catalog import open_catalog
from eventsam.loading import Data, make_loader
from eventsam.models.embedder import Embedded
from eventsam.spec import Spec, build, get
from eventsam.tasks.task import Batch, Task
from ray_jobs import sweep_targets
from ray_jobs.sweep_targets import Answers, KeptParts, remember


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("targets"), 6)


@pytest.fixture(scope="module")
def fuse(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Spec:
    return small_fuse(root, tmp_path_factory.mktemp("stages"))


@pytest.fixture(autouse=True)
def _keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small teachers answer faster than they are worth keeping: how fast this machine is must not decide the test."""
    monkeypatch.setattr(sweep_targets, "READ_BYTES_PER_S", 1e15)


def batch_of(recipe: Spec, task: Task, first: int = 0) -> Batch:
    data: Data = build(recipe.arguments["data"])
    dataset = load_dataset(data.dataset)
    loader = make_loader(dataset, open_catalog(dataset, Path(data.root)), data, task.reads, seed=0, training=True)
    arrays = loader.batch(torch.arange(first, first + 4).numpy())
    return {name: torch.as_tensor(array) for name, array in arrays.items()}


def gradients(task: Task, batch: Batch) -> dict[str, torch.Tensor]:
    task.zero_grad()
    task.train()
    task(batch)["loss"].backward()
    return {name: value.grad.clone() for name, value in task.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("name", ["fuse", "distill"])
def test_remembered_answers_change_no_bit_of_loss_gradient_or_metric(
    name: str, fuse: Spec, root: Path, tmp_path: Path
) -> None:
    teacher = get(fuse, "task.reconstructor.checkpoint")
    recipe = fuse if name == "fuse" else small_recipe("distill", root, **{"task.teacher.checkpoint": teacher})
    torch.manual_seed(0)
    plain: Task = build(recipe.arguments["task"])
    torch.manual_seed(0)
    remembering: Task = build(recipe.arguments["task"])
    answers = Answers(tmp_path / "answers")
    remember(remembering, answers)
    batch = batch_of(recipe, plain)
    expected = gradients(plain, batch)
    for _ in range(2):
        found = gradients(remembering, batch)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    with torch.no_grad():
        metrics = [task.eval().evaluate(batch) for task in (plain, remembering)]
    assert {key: state.mean() for key, state in metrics[0].items()} == {k: s.mean() for k, s in metrics[1].items()}
    assert answers.num_computed > 0
    assert answers.num_read >= answers.num_computed


def test_other_inputs_and_other_weights_get_their_own_answers(fuse: Spec, tmp_path: Path) -> None:
    recipe, task = fuse, build(fuse.arguments["task"])
    answers = Answers(tmp_path / "answers")
    remember(task, answers)
    first, second = batch_of(recipe, task), batch_of(recipe, task, 4)
    task(first)
    computed = answers.num_computed
    task(second)
    assert answers.num_computed == 2 * computed
    assert answers.num_read == 0


def test_a_full_folder_takes_no_more_and_answers_still_come(tmp_path: Path) -> None:
    answers = Answers(tmp_path, capacity=100)
    for _ in range(2):
        said = answers.get("abc", lambda: torch.ones(100))
        assert torch.equal(said, torch.ones(100))
    assert answers.num_computed == 2
    assert not list(tmp_path.glob("*/*"))


def test_two_at_once_compute_once(tmp_path: Path) -> None:
    said = []

    def slow() -> Embedded:
        time.sleep(0.3)
        return Embedded(torch.ones(2), {3: torch.zeros(1)})

    sharing = [Answers(tmp_path), Answers(tmp_path)]
    threads = [threading.Thread(target=lambda each=each: said.append(each.get("k" * 8, slow))) for each in sharing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.num_computed for each in sharing) == 1
    assert all(torch.equal(each.projected, torch.ones(2)) and list(each.taps) == [3] for each in said)


def test_a_claim_that_was_left_behind_holds_nobody_up_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_targets, "CLAIM_S", 0.2)
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "abc.claim").touch()
    answers = Answers(tmp_path)
    assert torch.equal(answers.get("abc", lambda: torch.ones(1)), torch.ones(1))
    assert not (tmp_path / "ab" / "abc.claim").exists()


def test_kept_parts_leave_the_trained_parts_as_an_ordinary_build_draws_them(fuse: Spec) -> None:
    recipe = fuse
    torch.manual_seed(5)
    expected: Task = build(recipe.arguments["task"])
    parts = KeptParts()
    tasks = []
    for _ in range(2):
        torch.manual_seed(5)
        tasks.append(parts.build(recipe.arguments["task"]))
    for task in tasks:
        state = task.state_dict()
        assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
    assert tasks[0].get_submodule("reconstructor") is tasks[1].get_submodule("reconstructor")
    assert tasks[0].get_submodule("fusion") is not tasks[1].get_submodule("fusion")
    torch.manual_seed(6)
    other = parts.build(recipe.arguments["task"])
    assert other.get_submodule("reconstructor") is tasks[0].get_submodule("reconstructor")
