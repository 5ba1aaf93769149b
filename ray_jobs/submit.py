"""A command line of this project as a job on a Ray cluster: what is sent, its log as it comes, how it ended."""

import asyncio
import logging
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from eventsam.provenance import code_hash
from eventsam.recipe import load_recipe
from eventsam.spec import REQUIRED, Spec, flatten
from eventsam.unknown_name import unknown_name
from ray_jobs import pinned
from ray_jobs.package import Package

log = logging.getLogger(__name__)

PACKAGES = ("check", "install", "trust")
STOP_WAIT_S = 60
"""How long Ray waits after its SIGTERM before it kills: long enough to save a checkpoint. Ray's own 3 s are not."""
LOST_AFTER_S = 300.0
NOT_JOBS = ("submit", "jobs", "plan", "chaos")
"""Commands that are about this machine, or that start a Ray of their own."""
INTERRUPTED = 130
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]|^[.-]")


@dataclass(frozen=True)
class Job:
    """What is to run on the cluster: `command` as after `eventsam`, and what goes with it.

    `package` None sends nothing: the project is installed on the nodes. `packages` says what happens with the pinned
    versions: "check" compares them where the job starts, "install" has Ray install them for this job, "trust" neither.
    `num_cpus` are taken by the command itself while it waits for its workers.
    """

    command: tuple[str, ...]
    package: Package | None
    pins: Mapping[str, str]
    packages: str = "check"
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = "python"
    name: str | None = None
    num_cpus: float = 0.0

    def __post_init__(self) -> None:
        if self.packages not in PACKAGES:
            raise ValueError(unknown_name("value of --packages", self.packages, PACKAGES))
        # Ray makes file names of it, and fails late where it cannot.
        if self.name is not None and _UNSAFE.search(self.name):
            raise ValueError(f"--name {self.name!r} is no job's name; allowed: letters, digits, '.', '_' and '-'")

    @property
    def entrypoint(self) -> str:
        """The shell command that Ray starts; `exec` lets Ray's stop signal reach the command itself."""
        check = f"{shlex.quote(self.python)} -m ray_jobs.pinned && " if self.packages == "check" else ""
        return f"{check}exec {shlex.join([self.python, '-m', 'ray_jobs', *self.command])}"

    def runtime_environment(self, authenticated: bool) -> dict[str, Any]:
        """Return Ray's runtime_env: the files, the pins, and variables that make both ends speak alike."""
        variables = {
            # The job's own ray.init names variables too; without this Ray refuses where both name the same one.
            "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
            # What the nodes were started with decides who may talk to them; the job's own processes must follow.
            "RAY_AUTH_MODE": "token" if authenticated else "disabled",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
            pinned.VARIABLE: pinned.to_words(self.pins),
            **self.environment,
        }
        environment: dict[str, Any] = {"env_vars": variables}
        if self.package is not None:
            environment |= {"working_dir": str(self.package.folder), "excludes": list(self.package.excludes)}
        if self.packages == "install":
            # Ray itself must stay what the cluster runs.
            words = [f"{name}=={version}" for name, version in self.pins.items() if name != "ray"]
            environment["pip"] = {"packages": words, "pip_check": False}
        return environment


def check_command(
    root: Any, words: Sequence[str], package: Package | None, changed: Callable[[Spec, list[str] | None], Spec]
) -> None:
    """Refuse here what the job would refuse on the cluster.

    `root` is the command line (a click group), `changed` applies its `--set` options to a recipe. Unknown commands,
    options, recipes and recipe values are found, and paths that would lead into the job's own folder, which goes away
    with it, or that only this machine has.

    Raises:
        ValueError, KeyError: the command makes no sense; click's usage errors pass through.
    """
    command, said, rest = root, "eventsam", list(words)
    while hasattr(command, "commands"):
        allowed = [name for name in command.commands if command is not root or name not in NOT_JOBS]
        if not rest or rest[0] not in allowed:
            raise KeyError(unknown_name("command for a job", rest[0] if rest else "", allowed))
        said = f"{said} {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    given = command.make_context(said, rest).params
    stated: dict[str, Any] = {}
    if given.get("recipe") is not None:  # a sweep that goes on knows its own
        stated = flatten(changed(load_recipe(given["recipe"]), given.get("changes")))
        lacking = [f"--set {path}=VALUE" for path, value in stated.items() if value == REQUIRED]
        if lacking:
            raise ValueError(f"recipe {given['recipe']!r} leaves values to you: {' '.join(lacking)}")
    lost = [f"{name} {place}" for name, place in _places(given, stated) if _is_lost(place, package)]
    if lost:
        raise ValueError(
            f"{', '.join(lost)} would lie in the job's own folder on one node, which goes away with the job: give an "
            "absolute path on storage that all nodes share (s3:// for --checkpoints alone)"
        )


def submit(client: JobSubmissionClient, job: Job, authenticated: bool) -> str:
    """Upload the job's files and start it; return its id.

    Raises:
        ValueError: a job of this name was submitted before.
    """
    words = "-".join(word for word in job.command[:2] if not _UNSAFE.search(word))
    name = job.name or f"{words}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    known = [details.submission_id for details in client.list_jobs()]
    if name in known:
        raise ValueError(f"a job named {name!r} was submitted to this cluster before; choose another --name")
    return str(
        client.submit_job(
            entrypoint=job.entrypoint,
            submission_id=name,
            runtime_env=job.runtime_environment(authenticated),
            metadata={"code_hash": code_hash(), "command": shlex.join(job.command)},
            entrypoint_num_cpus=job.num_cpus or None,
        )
    )


def details_of(client: JobSubmissionClient, job_id: str) -> JobDetails:
    """Return what the cluster knows of a job.

    Raises:
        KeyError: it knows no such job; the nearest name is given.
    """
    known = {details.submission_id: details for details in client.list_jobs() if details.submission_id}
    if job_id not in known:
        raise KeyError(unknown_name("job", job_id, known))
    return known[job_id]


@dataclass
class Follower:
    """Passes a job's log on as it comes, each character once, also across lost connections."""

    client: JobSubmissionClient
    job_id: str
    write: Callable[[str], object]
    num_written: int = 0
    lost_after_s: float = LOST_AFTER_S

    def __call__(self) -> JobDetails:
        """Follow the job to its end and return how it ended.

        Raises:
            ConnectionError: the dashboard stayed away for `lost_after_s` seconds; the job goes on without us.
        """
        heard = time.monotonic()
        while True:
            try:
                asyncio.run(self._tail())
                details = self.client.get_job_info(self.job_id)
                heard = time.monotonic()
                if JobStatus(details.status).is_terminal():
                    self._rest()
                    return details
            except (aiohttp.ClientError, RuntimeError, OSError) as error:
                # requests' errors are OSErrors; Ray's client raises RuntimeError for a connection that broke off.
                log.info("the log of %s broke off: %s", self.job_id, error)
                if time.monotonic() - heard > self.lost_after_s:
                    raise ConnectionError(
                        f"the dashboard has not answered for {self.lost_after_s:.0f} s; {self.job_id} may well go on: "
                        f"eventsam jobs logs {self.job_id} --follow"
                    ) from None
            time.sleep(0.5)

    async def _tail(self) -> None:
        """Write what the log holds beyond what was written; a new connection starts at its first character."""
        num_seen = 0
        async for text in self.client.tail_job_logs(self.job_id):
            new = text[max(0, self.num_written - num_seen) :]
            num_seen += len(text)
            if new:
                self.num_written += len(new)
                self.write(new)

    def _rest(self) -> None:
        """Write what came after the last look: a job can end between two of them."""
        text = self.client.get_job_logs(self.job_id)
        if len(text) > self.num_written:
            self.write(text[self.num_written :])
            self.num_written = len(text)


def exit_code(details: JobDetails) -> int:
    """Return the exit code that stands for how a job ended: its own; 130 where it was stopped.

    A job that a signal ended has 128 and the signal's number, as in a shell; 1 stands for one that never started.
    """
    status = JobStatus(details.status)
    if status == JobStatus.SUCCEEDED:
        return 0
    if status == JobStatus.STOPPED:
        return INTERRUPTED
    code = details.driver_exit_code
    if code is None:
        return 1
    return 128 - code if code < 0 else code


def stop(client: JobSubmissionClient, job_id: str, wait_s: float) -> JobDetails:
    """Ask a job to end and wait until it did, at most `wait_s` seconds; return what is known of it then."""
    details_of(client, job_id)
    client.stop_job(job_id)
    deadline = time.monotonic() + wait_s
    while True:
        details = client.get_job_info(job_id)
        if JobStatus(details.status).is_terminal() or time.monotonic() > deadline:
            return details
        time.sleep(0.5)


def _places(given: Mapping[str, Any], stated: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where a command reads and writes: its paths, and those that its recipe names."""
    for name, value in given.items():
        for place in value if isinstance(value, list | tuple) else [value]:
            if isinstance(place, Path) or (name == "checkpoints" and place):
                yield f"--{name}", str(place)
    for name, value in stated.items():
        if name.rpartition(".")[2] in ("root", "checkpoint") and value:
            yield f"--set {name}", str(value)


def _is_lost(place: str, package: Package | None) -> bool:
    on_all_nodes = place.startswith("/") or "://" in place
    return not on_all_nodes and not (package is not None and package.holds(place))
