"""A small server that answers as a Ray dashboard's jobs API does, for what needs no cluster."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from aiohttp import WSCloseCode, web


@dataclass
class DashboardStandIn:
    """Keeps what it was sent; a job "runs" as `log` and `ends` say.

    `breaks` are numbers of log chunks after which the first connections, one each, break off.
    """

    token: str | None = None
    log: Sequence[str] = ("one\n", "two\n", "three\n")
    ends: dict[str, Any] = field(default_factory=lambda: {"status": "SUCCEEDED", "driver_exit_code": 0})
    breaks: list[int] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    packages: dict[str, bytes] = field(default_factory=dict)
    authorizations: list[str | None] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=2**30)
        application.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/jobs/", self._list),
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/{job}", self._details),
                web.post("/api/jobs/{job}/stop", self._stop),
                web.get("/api/jobs/{job}/logs", self._logs),
                web.get("/api/jobs/{job}/logs/tail", self._tail),
                web.get("/api/packages/gcs/{name}", self._has),
                web.put("/api/packages/gcs/{name}", self._put),
            ]
        )
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> Any:
        said = request.headers.get("Authorization")
        self.authorizations.append(said)
        if self.token is not None and said != f"Bearer {self.token}":
            return web.Response(status=401 if said is None else 403, text="Unauthorized")
        return await handler(request)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": ray.__version__, "ray_commit": "", "session_name": ""})

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(list(self.jobs.values()))

    async def _submit(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.submitted.append(asked)
        name = asked["submission_id"]
        self.jobs[name] = {
            "type": "SUBMISSION",
            "submission_id": name,
            "entrypoint": asked["entrypoint"],
            "metadata": asked["metadata"],
            "start_time": 1_700_000_000_000,
            "status": "RUNNING",
        }
        return web.json_response({"job_id": name, "submission_id": name})

    async def _details(self, request: web.Request) -> web.Response:
        return web.json_response(self.jobs[request.match_info["job"]])

    async def _stop(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["job"]]["status"] = "STOPPED"
        return web.json_response({"stopped": True})

    async def _logs(self, _: web.Request) -> web.Response:
        return web.json_response({"logs": "".join(self.log)})

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        num_chunks = self.breaks.pop(0) if self.breaks else None
        for text in self.log[:num_chunks]:
            await socket.send_str(text)
        if num_chunks is not None:
            await socket.close(code=WSCloseCode.ABNORMAL_CLOSURE)
            return socket
        self.jobs[request.match_info["job"]] |= self.ends
        await socket.close()
        return socket

    async def _has(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _put(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response()


@contextmanager
def serving(stand_in: DashboardStandIn, host: str = "127.0.0.1") -> Iterator[DashboardStandIn]:
    """Serve on a free port of an interface for the time of the block."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(stand_in.application())
    ready = threading.Event()

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, host, 0)
        await site.start()
        stand_in.port = runner.addresses[0][1]
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield stand_in
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
