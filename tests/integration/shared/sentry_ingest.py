"""An HTTP server in the place of Sentry's ingest, which keeps the envelopes that it is sent."""

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 10.0


class Ingest:
    """What arrived so far; `dsn` is where to send to."""

    def __init__(self, port: int) -> None:
        self.dsn = f"http://publickey@127.0.0.1:{port}/42"
        self.raw: list[bytes] = []
        self.keys: list[str] = []
        self._more = threading.Condition()

    def receive(self, body: bytes, key: str) -> None:
        """Keep an envelope, and who sent it."""
        with self._more:
            self.raw.append(body)
            self.keys.append(key)
            self._more.notify_all()

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return the payloads of one kind: `event` or `transaction`."""
        return [payload for raw in list(self.raw) for payload in _payloads(raw, kind)]

    def wait_for(self, kind: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait until there are so many of a kind, and return them; blocks the thread."""
        with self._more:
            there = self._more.wait_for(lambda: len(self.items(kind)) >= number, PATIENCE)
        assert there, f"{len(self.items(kind))} of {number} {kind}s arrived"
        return self.items(kind)


def _payloads(raw: bytes, kind: str) -> Iterator[dict[str, Any]]:
    """Yield items of an envelope: a line of headers, then a line of headers before each payload."""
    lines = raw.split(b"\n")
    for header, payload in zip(lines[1::2], lines[2::2], strict=False):
        if header and json.loads(header)["type"] == kind:
            yield json.loads(payload)


@contextmanager
def sentry_ingest(*, slow: float = 0.0) -> Iterator[Ingest]:
    """Listen within the block, and answer after `slow` seconds."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            ingest.receive(body, self.headers.get("x-sentry-auth", ""))
            ended.wait(slow)
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ingest = Ingest(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield ingest
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent_ingest() -> Iterator[str]:
    """Listen and never answer; yields a DSN."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://publickey@127.0.0.1:{listening.getsockname()[1]}/42"
