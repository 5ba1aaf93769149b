"""`eventsam info` and `eventsam convert` as a user meets them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eventsam.events import Events
from eventsam.io.convert import write_events
from ray_jobs.__main__ import app

EVENTS = Events.from_arrays([3, 1, 2], [0, 1, 1], [10, 20, 20], [1, 0, 1], height=260, width=346)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recording.npz"
    write_events(path, [EVENTS], EVENTS.height, EVENTS.width)
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        return 2, str(result.exception)
    return result.exit_code, result.output


def test_info_prints_and_writes_the_facts(file: Path, tmp_path: Path) -> None:
    code, output = run("info", file, "--json", tmp_path / "info.json")
    facts = json.loads((tmp_path / "info.json").read_text())
    assert code == 0 and "format: npz" in output
    wanted = {"height": 260, "width": 346, "num_events": 3, "num_on": 2, "t_first_us": 10, "t_last_us": 20}
    assert wanted.items() <= facts.items()
    # sha256 of the bytes of [[3, 0, 10, 1], [1, 1, 20, 0], [2, 1, 20, 1]] as little-endian int64.
    table = np.array([[3, 0, 10, 1], [1, 1, 20, 0], [2, 1, 20, 1]], "<i8")
    assert facts["sha256_xytp"] == hashlib.sha256(table.tobytes()).hexdigest()


def test_info_states_no_size_that_the_file_does_not(tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", x=[300], y=[1], t=[5], p=[0])
    code, _ = run("info", tmp_path / "bare.npz", "--json", tmp_path / "info.json")
    facts = json.loads((tmp_path / "info.json").read_text())
    assert code == 0 and facts["num_events"] == 1 and facts["height"] is None and facts["width"] is None
    assert "does not state the sensor size" in run("convert", tmp_path / "bare.npz", tmp_path / "out.txt")[1]


def test_convert_and_back(file: Path, tmp_path: Path) -> None:
    code, output = run("convert", file, tmp_path / "there.raw", "--to", "evt3")
    assert code == 0 and "3 events" in output
    assert run("convert", tmp_path / "there.raw", tmp_path / "back.npz")[0] == 0
    hashes = set()
    for path in (file, tmp_path / "there.raw", tmp_path / "back.npz"):
        run("info", path, "--json", tmp_path / "info.json")
        hashes.add(json.loads((tmp_path / "info.json").read_text())["sha256_xytp"])
    assert len(hashes) == 1


def test_mended_times_are_counted(tmp_path: Path) -> None:
    np.savez(tmp_path / "back.npz", x=[1, 1], y=[1, 1], t=[5, 4], p=[0, 1], height=4, width=4)
    assert "time goes back at event 1" in run("convert", tmp_path / "back.npz", tmp_path / "out.txt")[1]
    code, output = run("convert", tmp_path / "back.npz", tmp_path / "out.txt", "--backward", "sort")
    assert code == 0 and "mended: 1 backward times" in output


def test_bad_requests_say_what_is_allowed(file: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("info", tmp_path / "absent.raw"), "no such file"),
        (("info", file, "--format-name", "nzp"), "did you mean 'npz'"),
        (("info", file, "--height", 3), "together"),
        (("convert", file, tmp_path / "x.h6"), "names no format that can be written"),
        (("convert", file, tmp_path / "x.txt", "--to", "textt"), "did you mean 'text'"),
        (("convert", file, file), "exists"),
    ):
        code, output = run(*arguments)
        assert code == 2 and message in output, output


def test_formats_are_listed() -> None:
    code, output = run("formats")
    assert code == 0 and "evt3: Prophesee RAW EVT 3.0 (.raw, .evt3)" in output and "read only" in output
