"""MLflow mirrors the run's folder: one run across restarts, every step once, parents and children, one writer."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from eventsam.metrics_log import MetricsLog, append_line
from eventsam.tracking.card import check_uri, default_uri, masked, read_card
from eventsam.tracking.catch_up import catch_up
from eventsam.tracking.mirror import MlflowMirror
from eventsam.tracking.writer_lock import RunInUseError

OpenRun = Callable[..., MlflowMirror]


def history(uri: str, mirror: MlflowMirror, key: str) -> list[tuple[int, float]]:
    assert mirror.run_id is not None
    return [(metric.step, metric.value) for metric in MlflowClient(uri).get_metric_history(mirror.run_id, key)]


def test_one_run_across_restarts(open_run: OpenRun, store: str) -> None:
    first = open_run(tags={"code_hash": "a"})
    first.metrics_log.append({"step": 1, "loss": 3.0})
    first.finish("FAILED")
    second = open_run(tags={"code_hash": "b"})
    second.metrics_log.append({"step": 2, "loss": 2.0})
    second.finish("FINISHED")
    assert first.run_id == second.run_id
    assert history(store, second, "loss") == [(1, 3.0), (2, 2.0)]
    run = MlflowClient(store).get_run(second.run_id)
    assert run.data.params["task.blocks"] == "[2, 5]"
    assert run.data.tags["code_hash"] == "b"
    assert run.info.status == "FINISHED"
    assert not second.waiting


def test_redone_steps_appear_once_and_in_order(open_run: OpenRun, store: str) -> None:
    first = open_run()
    for step in range(1, 8):
        first.metrics_log.append({"step": step, "loss": float(step)})
    first.finish("KILLED")
    second = open_run()
    # The newest checkpoint was of step 4: steps 5 to 7 come again, in one process or after the restart of another.
    for step in range(5, 11):
        second.metrics_log.append({"step": step, "loss": float(step), "val/viou": 0.1 * step})
    second.finish("FINISHED")
    assert history(store, second, "loss") == [(step, float(step)) for step in range(1, 11)]
    assert [step for step, _ in history(store, second, "val/viou")] == list(range(5, 11))


def test_the_best_checkpoints_other_metrics_stand_beside_the_last(open_run: OpenRun, store: str) -> None:
    mirror = open_run()
    for step, viou, chamfer in ((5, 0.5, 0.2), (10, 0.4, 0.1)):
        mirror.metrics_log.append({"step": step, "samples": step * 8, "loss": 1.0, "data_wait_s": 0.1, "step_s": 0.3})
        mirror.metrics_log.append({"step": step, "val/viou": viou, "val/chamfer": chamfer})
        if step == 5:
            mirror.metrics_log.append({"step": step, "best/viou": viou})
    mirror.finish("FINISHED")
    values = MlflowClient(store).get_run(mirror.run_id).data.metrics
    assert (values["best/viou"], values["best/chamfer"]) == (0.5, 0.2)
    assert (values["val/viou"], values["val/chamfer"]) == (0.4, 0.1)
    assert values["data_wait_share"] == pytest.approx(0.25)
    assert values["samples_per_s"] == pytest.approx(8 / 0.4)


def test_one_name_that_mlflow_refuses_takes_no_other_with_it(
    open_run: OpenRun, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = open_run(parameters={"good": 1, "../bad": 2, "better": ""})
    for step in range(1, 6):
        mirror.metrics_log.append({"step": step, "loss": float(step), "odd//name": 1.0, "gate/block_2": 0.5})
    mirror.finish("FINISHED")
    run = MlflowClient(store).get_run(mirror.run_id)
    assert run.data.params == {"good": "1", "better": ""}
    assert [step for step, _ in history(store, mirror, "gate/block_2")] == [1, 2, 3, 4, 5]
    assert run.data.metrics.keys() == {"loss", "gate/block_2"}
    assert "MLflow refused a parameter, ../bad" in caplog.text
    assert "MLflow refused a number of metrics.jsonl, odd//name" in caplog.text


def test_pictures_files_and_folders_are_kept(open_run: OpenRun, store: str, tmp_path: Path) -> None:
    mirror = open_run()
    mirror.picture("a.png", b"\x89PNG", tmp_path / "figures")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "page.html").write_text("<html>")
    mirror.artifacts(tmp_path / "report", "report")
    mirror.file(tmp_path / "gone.txt", "report")
    mirror.metrics({"events_blurry/hard/viou": 0.4, "odd@name": 1.0})
    mirror.finish("FINISHED")
    client = MlflowClient(store)
    assert [item.path for item in client.list_artifacts(mirror.run_id, "figures")] == ["figures/a.png"]
    assert [item.path for item in client.list_artifacts(mirror.run_id, "report")] == ["report/page.html"]
    run = client.get_run(mirror.run_id)
    assert run.data.metrics == {"events_blurry/hard/viou": 0.4, "odd_name": 1.0}
    # What is gone is passed over, and does not keep the end of the run from the server.
    assert run.info.status == "FINISHED"


def test_children_lie_under_their_parent_whichever_comes_first(open_run: OpenRun, store: str) -> None:
    parent = open_run("sweep", resume_key="my-sweep")
    child = open_run("sweep-trials/trial_0", parent=parent)
    child.finish("FINISHED")
    parent.finish("FINISHED")
    again = open_run("sweep", resume_key="my-sweep")
    late = open_run("sweep-trials/trial_1", parent=again.folder)
    late.finish("FINISHED")
    again.finish("FINISHED")
    assert again.run_id == parent.run_id
    client = MlflowClient(store)
    for run in (child, late):
        assert client.get_run(run.run_id).data.tags["mlflow.parentRunId"] == parent.run_id
    named = open_run("sweep-trials/trial_2", parent="my-sweep")
    named.finish("FINISHED")
    assert client.get_run(named.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_a_folder_made_anew_is_another_run(open_run: OpenRun, tmp_path: Path) -> None:
    first = open_run()
    first.finish("FINISHED")
    (tmp_path / "run").rename(tmp_path / "old")
    second = open_run()
    second.finish("FINISHED")
    assert second.run_id != first.run_id
    # The old one is still itself where it lies now.
    assert catch_up(tmp_path / "old").run_id == first.run_id


def test_a_refused_run_tried_again_with_other_values_is_another_run(open_run: OpenRun, store: str) -> None:
    first = open_run(parameters={"data.dataset": "sintetic"})
    first.finish("FAILED")
    second = open_run(parameters={"data.dataset": "synthetic"})
    second.metrics_log.append({"step": 1, "loss": 3.0})
    second.finish("FAILED")
    third = open_run(parameters={"data.dataset": "synthetic"})
    third.finish("FINISHED")
    assert first.run_id != second.run_id == third.run_id
    assert MlflowClient(store).get_run(third.run_id).data.params == {"data.dataset": "synthetic"}


def test_two_writers_of_one_name_are_kept_apart(open_run: OpenRun, tmp_path: Path, store: str) -> None:
    mirror = open_run()
    with pytest.raises(RunInUseError, match=r"run is being written by process \d+ on .* since 20"):
        open_run()
    code = (
        "import sys; from pathlib import Path; from eventsam.tracking.mirror import MlflowMirror\n"
        "MlflowMirror(Path(sys.argv[1]), sys.argv[2], 'x', tags={}, parameters={})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run"), store]
    other = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert "is being written by process" in other.stderr
    assert catch_up(tmp_path / "run").reason.startswith(str(tmp_path / "run"))
    mirror.finish("FINISHED")
    assert MlflowClient(store).get_run(mirror.run_id).info.status == "FINISHED"


def test_a_run_whose_process_was_killed_is_marked_by_the_next_replay(tmp_path: Path, store: str) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from eventsam.tracking.mirror import MlflowMirror\n"
        "mirror = MlflowMirror(Path(sys.argv[1]), sys.argv[2], 'killed', tags={}, parameters={'a': 1})\n"
        "mirror.metrics_log.append({'step': 1, 'loss': 1.0})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = tmp_path / "run"
    process = subprocess.run([sys.executable, "-c", code, str(folder), store], capture_output=True, timeout=100)
    assert process.returncode == -9
    caught = catch_up(folder)
    assert caught.before.num_records == 1
    assert not caught.left
    run = MlflowClient(store).get_run(caught.run_id)
    assert (run.info.status, run.data.metrics) == ("KILLED", {"loss": 1.0})


def test_a_checkpoint_becomes_a_model_version_without_pickle(open_run: OpenRun, store: str, tmp_path: Path) -> None:
    folder = tmp_path / "step_000000008"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "state.json").write_text("{}")
    mirror = open_run()
    mirror.register("event sam3d", folder)
    mirror.register("event sam3d", folder)
    mirror.finish("FINISHED")
    client = MlflowClient(store, store)
    (version,) = client.search_model_versions("name = 'event sam3d'")
    assert (version.run_id, version.version) == (mirror.run_id, 1)
    source = Path(version.source.removeprefix("file://"))
    assert sorted(path.name for path in source.iterdir()) == ["model.safetensors", "state.json"]


def test_a_store_that_was_replaced_gets_everything_anew(open_run: OpenRun, tmp_path: Path) -> None:
    mirror = open_run()
    mirror.metrics_log.append({"step": 1, "loss": 3.0})
    mirror.finish("FINISHED")
    (path,) = (tmp_path / "run" / "tracking").glob("mark-*.json")
    mark = json.loads(path.read_text())
    path.write_text(json.dumps({**mark, "run_id": "0" * 32, "parameters_sent": False}))
    (tmp_path / "run" / "tracking" / "card.json").write_text(
        (tmp_path / "run" / "tracking" / "card.json").read_text().replace(mirror.key, "another-key")
    )
    again = open_run()
    deadline = time.monotonic() + 20
    while again.run_id in (None, "0" * 32) and time.monotonic() < deadline:
        time.sleep(0.05)
    again.finish("FINISHED")
    assert history(again.uri, again, "loss") == [(1, 3.0)]


def test_a_run_is_copied_to_a_second_store_later(open_run: OpenRun, empty_store: Path, tmp_path: Path) -> None:
    mirror = open_run()
    MetricsLog(mirror.folder / "metrics.jsonl").append({"step": 1, "loss": 3.0})
    append_line(mirror.folder / "system.jsonl", {"step": 0, "system/cpu_utilization_percentage": 50.0, "time": 1.0})
    mirror.finish("FINISHED")
    shutil.copy(empty_store, tmp_path)
    other = default_uri(tmp_path)
    caught = catch_up(mirror.folder, other)
    assert not caught.left
    run = MlflowClient(other).get_run(caught.run_id)
    assert run.data.metrics == {"loss": 3.0, "system/cpu_utilization_percentage": 50.0}
    assert not catch_up(mirror.folder, other).before


@pytest.mark.parametrize("uri", ["htp://host:5000", "mlruns", "file:///tmp/mlruns"])
def test_uris_that_no_server_has_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allowed: sqlite, postgresql"):
        check_uri(uri)


def test_passwords_are_not_written_down(open_run: OpenRun, tmp_path: Path) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    assert masked(uri) == "http://me:***@127.0.0.1:9"
    mirror = open_run(uri=uri)
    mirror.finish("FINISHED", timeout_s=10)
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    card = read_card(tmp_path / "run")
    assert card is not None
    with pytest.raises(ValueError, match="give --tracking-uri again"):
        catch_up(tmp_path / "run")
