"""The SDK stands on grpcio and protobuf alone, and works with and without OpenTelemetry."""

import json
import subprocess
import sys
from typing import Any

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MODULES = (
    "mainstay",
    "mainstay.cache.client",
    "mainstay.channel",
    "mainstay.errors_wire",
    "mainstay.health.client",
    "mainstay.jobs.client",
    "mainstay.jobs.worker",
    "mainstay.middleware",
    "mainstay.ratelimit.client",
)
WITHOUT_OTEL = "import sys; sys.modules['opentelemetry'] = None"


def run(program: str) -> Any:
    """Run a program in an interpreter of its own and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestImports:
    def test_bring_nothing_else_along(self) -> None:
        """Every module of it loads grpc, google.protobuf and the standard library."""
        loaded = run(
            f"{WITHOUT_OTEL}\n"
            "import importlib, json\n"
            f"for name in {MODULES!r}: importlib.import_module(name)\n"
            "tops = {name.partition('.')[0] for name, module in sys.modules.items() if module}\n"
            "files = {n for n in tops if 'site-packages' in (getattr(sys.modules.get(n), "
            "'__file__', None) or '')}\n"
            "print(json.dumps(sorted(tops & ({'shared', 'services', 'cli'} | files))))"
        )

        # Grpcio itself looks for its companions, such as grpc_tools.
        foreign = {name for name in loaded if not name.startswith("grpc")}
        assert foreign <= {"google", "typing_extensions", "_distutils_hack"}

    def test_carry_the_trace_without_opentelemetry(self) -> None:
        """What the request came with goes on, unchanged."""
        headers = run(
            f"{WITHOUT_OTEL}\n"
            "import json\n"
            "from mainstay.context import RequestContext, use\n"
            "from mainstay.tracing import client_span, trace_headers\n"
            f"context = RequestContext(request_id='r', traceparent={TRACEPARENT!r}, "
            "tracestate='a=b')\n"
            "with client_span('S/M', 'host', context) as inside: pass\n"
            "print(json.dumps([inside, trace_headers(context), trace_headers(None)]))"
        )

        carried = [["traceparent", TRACEPARENT], ["tracestate", "a=b"]]
        assert headers == [carried, carried, []]

    def test_carry_the_trace_with_opentelemetry_and_no_provider(self) -> None:
        """An application that did not set tracing up loses nothing by having it installed."""
        headers = run(
            "import json\n"
            "from mainstay.context import RequestContext\n"
            "from mainstay.tracing import client_span\n"
            f"context = RequestContext(request_id='r', traceparent={TRACEPARENT!r})\n"
            "with client_span('S/M', 'host', context) as inside: pass\n"
            "print(json.dumps(inside))"
        )

        assert headers == [["traceparent", TRACEPARENT]]
