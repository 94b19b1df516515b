"""A collector that takes what OTLP exporters send over HTTP and lets a test read it."""

import gzip
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


class Collector:
    """Holds the requests that came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: queue.Queue[tuple[str, dict[str, str], bytes]] = queue.Queue()

    def batch(self) -> tuple[str, dict[str, str], list[ResourceSpans]]:
        """Return path, headers and spans of the next request."""
        path, headers, body = self.requests.get(timeout=10)
        return path, headers, [*ExportTraceServiceRequest.FromString(body).resource_spans]

    def spans(self) -> list[Span]:
        """Return all spans that have come."""
        found: list[Span] = []
        while not self.requests.empty():
            for resource in self.batch()[2]:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found


@contextmanager
def collector() -> Iterator[Collector]:
    """Listen within the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.requests.put((self.path, headers, body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary."""
    return {one.key: _value(one) for one in attributes}


def _value(one: KeyValue) -> Any:
    return getattr(one.value, one.value.WhichOneof("value") or "string_value")
