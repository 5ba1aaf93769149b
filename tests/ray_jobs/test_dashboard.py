"""Which dashboards are refused, and to whom the token is sent; a small server stands for the dashboard."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dashboard_support import DashboardStandIn, serving

from ray_jobs import dashboard

TOKEN = "a" * 64
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))


@pytest.fixture
def on_loopback() -> Iterator[DashboardStandIn]:
    with serving(DashboardStandIn()) as stand_in:
        yield stand_in


def test_the_address_is_the_given_one_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboard.dashboard_address(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # a cluster's address, not its dashboard's
    assert dashboard.dashboard_address(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265/")
    assert dashboard.dashboard_address(None) == "http://head:8265"
    assert dashboard.dashboard_address("localhost:1") == "http://localhost:1"
    with pytest.raises(ValueError, match="is no dashboard's address"):
        dashboard.dashboard_address("ray://head:10001")


def test_open_on_loopback_alone_is_let_through(on_loopback: DashboardStandIn) -> None:
    found = dashboard.probe(on_loopback.address)
    assert found.open
    assert dashboard.refuse_open(found) == []


def test_open_on_every_interface_is_refused_even_when_reached_by_loopback() -> None:
    with serving(DashboardStandIn(), "0.0.0.0") as stand_in:
        found = dashboard.probe(stand_in.address)
        with pytest.raises(ValueError, match=rf"listens on 0\.0\.0\.0:{stand_in.port}") as refused:
            dashboard.refuse_open(found)
        for word in ("RAY_AUTH_MODE=token", "--dashboard-host=127.0.0.1", "ssh -L", "https", "--allow-open-dashboard"):
            assert word in str(refused.value)
        assert len(dashboard.refuse_open(found, allow_open=True)) == 1


def test_where_the_sockets_cannot_be_listed_the_interfaces_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(kind: str) -> None:
        raise psutil.AccessDenied(msg=kind)

    monkeypatch.setattr(psutil, "net_connections", denied)
    with serving(DashboardStandIn(), "0.0.0.0") as stand_in:
        own = [url for url in dashboard._own_urls("http", stand_in.port) if "[" not in url]
        if not own:
            pytest.skip("this machine has no interface but loopback")
        ways = dashboard.ways_in(dashboard.probe(stand_in.address))
        assert f"it also answers at {own[0]}" in ways
        # Reached by that address itself it is plain to see.
        host = own[0].removeprefix("http://").split(":")[0]
        assert dashboard.ways_in(dashboard.probe(own[0])) == [f"{host} is no loopback address"]


def test_a_dashboard_with_a_token_may_listen_everywhere() -> None:
    with serving(DashboardStandIn(token=TOKEN), "0.0.0.0") as stand_in:
        found = dashboard.probe(stand_in.address)
        assert not found.open
        assert dashboard.refuse_open(found) == []


def test_the_token_is_sent_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray would prefer this address to the one that was probed.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with serving(DashboardStandIn(token=TOKEN)) as stand_in:
        found = dashboard.probe(stand_in.address)
        with pytest.raises(ValueError, match="asks for a token and there is none here"):
            dashboard.jobs_client(found)
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        assert dashboard.jobs_client(found).list_jobs() == []
        assert stand_in.authorizations[-1] == f"Bearer {TOKEN}"
        monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
        with pytest.raises(ValueError, match="does not accept the token that is here"):
            dashboard.jobs_client(found)


def test_the_token_is_not_sent_to_an_open_dashboard(on_loopback: DashboardStandIn, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    code = f"""
from ray_jobs import dashboard
dashboard.jobs_client(dashboard.probe({on_loopback.address!r})).list_jobs()
"""
    # A process of its own, as the command is: where a local Ray runs, Ray itself adds its token to every request.
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment, timeout=100)
    assert set(on_loopback.authorizations) == {None}


def test_a_readable_token_is_noticed() -> None:
    assert dashboard.token_travels_readable(dashboard.Dashboard("http://10.1.2.3:8265", open=False))
    assert not dashboard.token_travels_readable(dashboard.Dashboard("https://10.1.2.3", open=False))
    assert not dashboard.token_travels_readable(dashboard.Dashboard("http://127.0.0.1:8265", open=False))


def test_nothing_or_another_server_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="no Ray dashboard answers at"):
            dashboard.probe(f"http://127.0.0.1:{unused.getsockname()[1]}")
    with (
        serving(DashboardStandIn()) as stand_in,
        pytest.raises(ValueError, match="is no Ray dashboard: /api/jobs/ gave status 404"),
    ):
        dashboard.probe(f"{stand_in.address}/elsewhere")
