"""A Ray dashboard, which runs the code of whoever reaches it: find it, see who could, and talk to its jobs API."""

import ipaddress
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests
from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
TIMEOUT_S = 10.0
NEIGHBOUR_TIMEOUT_S = 2.0

HOW_TO_CLOSE = """close it:
  - token: `ray get-auth-token --generate` once, the same ~/.ray/auth_token (or RAY_AUTH_TOKEN) on every node and here,
    and RAY_AUTH_MODE=token in the environment of every `ray start`; cluster.yaml and deploy/ do this
  - loopback: `ray start --head --dashboard-host=127.0.0.1`, and come through `ssh -L 8265:127.0.0.1:8265 HEAD` with
    --address http://127.0.0.1:8265
  - TLS: a token travels readable over plain http; from beyond the machine use the forwarded port or an https proxy"""


@dataclass(frozen=True)
class Dashboard:
    """An answering dashboard; `open` says that its jobs API answered without any credentials."""

    address: str
    open: bool


def dashboard_address(address: str | None) -> str:
    """Return the dashboard's URL: as given, else RAY_API_SERVER_ADDRESS or RAY_ADDRESS, else port 8265 of this machine.

    Raises:
        ValueError: it is no http or https address.
    """
    named = (os.environ.get(name, "") for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"))
    chosen = address or next((value for value in named if value.startswith(("http://", "https://"))), DEFAULT_ADDRESS)
    if "://" not in chosen:
        chosen = f"http://{chosen}"
    parts = urlsplit(chosen)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{chosen!r} is no dashboard's address; allowed: http://HOST:8265 or https://HOST")
    return chosen.rstrip("/")


def probe(address: str) -> Dashboard:
    """Ask the jobs API for its list without credentials.

    Raises:
        ValueError: nothing answers there, or what answers is no Ray dashboard.
    """
    try:
        answer = requests.get(f"{address}/api/jobs/", timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise ValueError(
            f"no Ray dashboard answers at {address} ({type(error).__name__}): is the head running, and its port "
            "forwarded (ssh -L 8265:127.0.0.1:8265 HEAD)?"
        ) from None
    if _lists_jobs(answer):
        return Dashboard(address, open=True)
    if answer.status_code in (401, 403) or answer.is_redirect:
        return Dashboard(address, open=False)
    raise ValueError(f"what answers at {address} is no Ray dashboard: /api/jobs/ gave status {answer.status_code}")


def ways_in(dashboard: Dashboard) -> list[str]:
    """Return how others could reach an open dashboard from beyond this machine's loopback interface; [] if nohow.

    Of a forwarded port only this end can be seen.
    """
    parts = urlsplit(dashboard.address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not dashboard.open:
        return []
    if not _is_loopback(str(parts.hostname)):
        return [f"{parts.hostname} is no loopback address"]
    found = [f"it listens on {place}, which is every interface" for place in _listening_on_all(port)]
    return found or [f"it also answers at {url}" for url in _own_urls(parts.scheme, port) if _answers(url)]


def refuse_open(dashboard: Dashboard, allow_open: bool = False) -> list[str]:
    """Refuse a dashboard that anybody beyond this machine can use; return the ways in where that is allowed.

    Raises:
        ValueError: with the ways in, and how to close them.
    """
    found = ways_in(dashboard)
    if found and not allow_open:
        raise ValueError(
            f"{dashboard.address} runs the code of anybody who reaches it: its jobs API answers without "
            f"authentication, and {'; '.join(found)}\n{HOW_TO_CLOSE}\nor go on as it is with --allow-open-dashboard"
        )
    return found


def jobs_client(dashboard: Dashboard) -> JobSubmissionClient:
    """Return a client of the jobs API; the token goes only to a dashboard that asked for one.

    Raises:
        ValueError: it asks for a token and there is none here, or the token is not its own.
    """
    headers = json.loads(os.environ.get("RAY_JOB_HEADERS", "{}"))
    if not dashboard.open and "authorization" not in {name.lower() for name in headers}:
        token = read_token()
        if token is None and not headers:
            raise ValueError(
                f"{dashboard.address} asks for a token and there is none here: put the cluster's token into "
                "~/.ray/auth_token, or its text into RAY_AUTH_TOKEN (on the head: `ray get-auth-token`)"
            )
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
    # Ray tells every ignore file that it reads, several times; what goes out is said by us.
    for name in ("ray.dashboard.modules", "ray._private.runtime_env"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("dashboard_sdk", "job.sdk"):
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.ERROR)
    with _this_address(dashboard.address):
        try:
            return JobSubmissionClient(dashboard.address, headers=headers)
        except Exception as error:
            # Ray's AuthenticationError is also a plain RayError; both mean that nobody gets further from here.
            if "Authentication" in type(error).__name__:
                reason = str(error).partition("\n")[0]
                raise ValueError(f"{dashboard.address} does not accept the token that is here: {reason}") from None
            raise


def read_token() -> str | None:
    """Return Ray's token from where Ray looks for it: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    return path.read_text().strip() or None if path.is_file() else None


def token_travels_readable(dashboard: Dashboard) -> bool:
    """Say whether a token sent to this dashboard could be read on the way."""
    parts = urlsplit(dashboard.address)
    return not dashboard.open and parts.scheme == "http" and not _is_loopback(str(parts.hostname))


@contextmanager
def _this_address(address: str) -> Iterator[None]:
    """Hide the environment's address for the time of the block: Ray would prefer it to the one that was probed."""
    before = os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ["RAY_API_SERVER_ADDRESS"]
        else:
            os.environ["RAY_API_SERVER_ADDRESS"] = before


def _lists_jobs(answer: requests.Response) -> bool:
    try:
        return answer.status_code == 200 and isinstance(answer.json(), list)
    except ValueError:
        return False


def _answers(url: str) -> bool:
    try:
        return _lists_jobs(requests.get(f"{url}/api/jobs/", timeout=NEIGHBOUR_TIMEOUT_S, allow_redirects=False))
    except requests.RequestException:
        return False


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def _listening_on_all(port: int) -> list[str]:
    """Sockets of this machine that take the port's calls from everywhere; [] where the system does not let us look."""
    try:
        sockets: list[Any] = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return []
    heard = {entry.laddr.ip for entry in sockets if entry.status == psutil.CONN_LISTEN and entry.laddr.port == port}
    return sorted(f"{ip}:{port}" for ip in heard if ipaddress.ip_address(ip.partition("%")[0]).is_unspecified)


def _own_urls(scheme: str, port: int) -> list[str]:
    """This machine's own addresses but the loopback's, as URLs with the port."""
    urls = []
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address:
                address = ipaddress.ip_address(entry.address)
                host = f"[{address}]" if address.version == 6 else str(address)
                urls += [] if address.is_loopback else [f"{scheme}://{host}:{port}"]
    return urls
