"""Spans over OTLP, from a process of their own, to a collector, and to one that is dead."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.shared.otlp_collector import Collector, collector, values

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"

# What a service does with a call, without the service.
CALLS = """
import sys, time
from prometheus_client import REGISTRY
from shared.config import CommonSettings
from shared.telemetry import tracing
from shared.telemetry.trace_export import configure_tracing

configured = configure_tracing("probe", CommonSettings())
caller = sys.argv[2]
slowest = 0.0
for n in range(int(sys.argv[1])):
    began = time.perf_counter()
    own = tracing.begin(caller)
    if tracing.is_sampled(own):
        tracing.enter(own).add("say_it", seconds=0.001, attributes={"db.system.name": "postgresql"})
    cause = None
    try:
        raise KeyError("a-secret")
    except KeyError as error:
        cause = error if n == 1 else None
    tracing.record_call("a.B/C", own, caller=caller, tracestate="", seconds=0.25,
        code="INTERNAL" if cause else "OK", request_id="req-7", cause=cause)
    slowest = max(slowest, time.perf_counter() - began)
ended = time.perf_counter()
import atexit
def told():
    # Registered last but one, so that it runs after the farewell to the exporters.
    dropped = REGISTRY.get_sample_value("mainstay_trace_spans_dropped_total")
    print('{"slowest": %f, "farewell": %f, "dropped": %d, "configured": %d}' % (
        slowest, time.perf_counter() - ended, dropped, configured))
"""
# Exit handlers run in the reverse of their order: this one has to be there first.
FIRST = "import atexit; atexit.register(lambda: told())\n"


def run(calls: int, *, caller: str = "", **variables: str) -> dict[str, Any]:
    """Record calls in another process; returns what it tells of itself at its end."""
    environment = {name: value for name, value in os.environ.items() if name[:5] != "OTEL_"}
    done = subprocess.run(
        [sys.executable, "-c", FIRST + CALLS, str(calls), caller],
        env=environment | variables,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def otlp() -> Iterator[Collector]:
    """Run a collector."""
    with collector() as found:
        yield found


def server(spans: list[Span]) -> list[Span]:
    """Return the spans of calls that were served."""
    return [one for one in spans if one.kind == Span.SPAN_KIND_SERVER]


class TestACollector:
    def test_gets_every_span(self, otlp: Collector) -> None:
        """By the standard variable alone, complete, and before the process is gone."""
        told = run(2, caller=f"00-{TRACE_ID}-{CALLER}-01", OTEL_EXPORTER_OTLP_ENDPOINT=otlp.url)
        spans = otlp.spans()
        fine, failed = server(spans)
        query = spans[0]

        assert (1, 0) == (told["configured"], told["dropped"])
        assert {TRACE_ID} == {one.trace_id.hex() for one in spans}
        assert (CALLER, fine.span_id) == (fine.parent_span_id.hex(), query.parent_span_id)
        assert 250_000_000 == fine.end_time_unix_nano - fine.start_time_unix_nano
        assert {
            "rpc.system.name": "grpc",
            "rpc.method": "a.B/C",
            "request.id": "req-7",
            "rpc.response.status_code": "OK",
        } == values(fine.attributes)
        assert "KeyError" == values(failed.events[0].attributes)["exception.type"]
        assert b"a-secret" not in failed.SerializeToString().replace(b'KeyError("a-secret")', b"")

    def test_is_told_who_sends(self, otlp: Collector) -> None:
        """Headers and resource by the standard variables, which win over our own names."""
        run(
            1,
            OTEL_EXPORTER_OTLP_ENDPOINT=otlp.url,
            OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20t0ken",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=staging,team=media",
        )
        path, headers, (resource,) = otlp.batch()
        told = values(resource.resource.attributes)

        assert ("/v1/traces", "Bearer t0ken") == (path, headers["authorization"])
        assert ("probe", "staging", "media") == (
            told["service.name"],
            told["deployment.environment.name"],
            told["team"],
        )

    def test_may_be_given_another_name(self, otlp: Collector) -> None:
        """OTEL_SERVICE_NAME is what a span's service is called."""
        run(1, OTEL_EXPORTER_OTLP_ENDPOINT=otlp.url, OTEL_SERVICE_NAME="eu-cache")
        _, _, (resource,) = otlp.batch()

        assert "eu-cache" == values(resource.resource.attributes)["service.name"]

    def test_is_found_by_our_own_setting(self, otlp: Collector) -> None:
        """MAINSTAY_OTLP_ENDPOINT, at whose end the path may be left out."""
        run(1, MAINSTAY_OTLP_ENDPOINT=f"{otlp.url}/")

        assert 2 == len(otlp.spans())

    def test_gets_the_share_that_the_standard_sampler_names(self, otlp: Collector) -> None:
        """And the one call that failed by a fault of ours, whatever the share."""
        run(
            100,
            OTEL_EXPORTER_OTLP_ENDPOINT=otlp.url,
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0",
        )
        (kept,) = otlp.spans()

        assert "INTERNAL" == values(kept.attributes)["rpc.response.status_code"]

    def test_gets_nothing_where_that_is_forbidden(self, otlp: Collector) -> None:
        """OTEL_SDK_DISABLED turns all of it off."""
        told = run(2, OTEL_EXPORTER_OTLP_ENDPOINT=otlp.url, OTEL_SDK_DISABLED="true")

        assert (0, []) == (told["configured"], otlp.spans())


class TestADeadCollector:
    @pytest.fixture(params=["refuses", "is silent"])
    def dead(self, request: pytest.FixtureRequest) -> Iterator[str]:
        """Provide an address where nobody listens, or nobody answers."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            if request.param == "is silent":
                yield f"http://127.0.0.1:{port}"
                return
        yield f"http://127.0.0.1:{port}"

    def test_holds_nobody_up(self, dead: str) -> None:
        """Neither calls nor the end; what found no room is counted."""
        told = run(10_000, OTEL_EXPORTER_OTLP_ENDPOINT=dead)

        assert told["slowest"] < 0.25
        assert told["farewell"] < 5
        # 20,000 spans, of which some 2,048 may still wait at the end.
        assert 17_000 < told["dropped"] <= 20_000
