"""A local S3 server (moto) that counts its requests and may refuse them from one on."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from pyarrow.fs import S3FileSystem
from werkzeug.serving import make_server

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class Server:
    """moto's S3 behind a door that shuts: from its request of number `shut_at` on, all are refused."""

    app: Any
    port: int = 0
    num_requests: int = 0
    shut_at: int | None = None
    seen: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        self.num_requests += 1
        self.seen.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if self.shut_at is not None and self.num_requests >= self.shut_at:
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>shut</Message></Error>"]
        return self.app(environ, start_response)  # type: ignore[no-any-return]

    def url(self, prefix: str) -> str:
        """Return the URL of a prefix in the server's bucket."""
        return f"s3://bucket/{prefix}?endpoint_override=http://127.0.0.1:{self.port}&region=us-east-1"


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on loopback for the time of the block, with a bucket named `bucket`; the keys are in `ENVIRONMENT`."""
    server = Server(DomainDispatcherApplication(create_backend_app))
    running = make_server("127.0.0.1", 0, server, threaded=True)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    server.port = running.server_port
    try:
        S3FileSystem(
            endpoint_override=f"127.0.0.1:{server.port}", scheme="http", region="us-east-1", allow_bucket_creation=True,
            access_key="testing", secret_key="testing",
        ).create_dir("bucket", recursive=False)  # fmt: skip
        yield server
    finally:
        running.shutdown()
        thread.join(10)
        running.server_close()
