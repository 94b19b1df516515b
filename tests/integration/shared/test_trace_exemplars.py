"""Exemplars: from a bucket of the latencies to a trace that is in it."""

import asyncio
import re
import urllib.request

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from mainstay import context
from mainstay.errors import NotFoundError
from tests.integration.shared.probe import Probe, probe_service
from tests.recorded_spans import context_of, recording_spans

UNWANTED = context.RequestContext(request_id="req-7", traceparent=f"00-{'a' * 32}-{'b' * 16}-00")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def scrape(probe: Probe, accept: str | None) -> tuple[str, str]:
    """Return the content type and the text of the metrics."""

    def ask() -> tuple[str, str]:
        headers = {} if accept is None else {"Accept": accept}
        url = f"http://{probe.service.ops_address}/metrics"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    return await asyncio.to_thread(ask)


def exemplars(text: str) -> set[str]:
    """Return the traces that buckets of the probe's method name."""
    lines = [line for line in text.splitlines() if "CacheService/Get" in line and "_bucket" in line]
    return set(re.findall(r'# \{trace_id="([0-9a-f]{32})"\}', "\n".join(lines)))


class TestExemplars:
    async def test_name_a_recorded_call(self, recorded: InMemorySpanExporter) -> None:
        """For scrapers that ask for OpenMetrics; all others would stumble over them."""
        async with probe_service(traced=True) as probe:
            await probe.get("none")
            kind, text = await scrape(probe, OPENMETRICS)
            plain_kind, plain = await scrape(probe, "text/plain")
            default_kind, default = await scrape(probe, None)
        (span,) = [one for one in recorded.get_finished_spans() if one.kind is SpanKind.SERVER]

        assert f"{context_of(span).trace_id:032x}" in exemplars(text)
        assert kind.startswith("application/openmetrics-text")
        assert text.endswith("# EOF\n")
        assert plain_kind.startswith("text/plain")
        assert default_kind.startswith("text/plain")
        assert set() == exemplars(plain) | exemplars(default)

    async def test_only_calls_that_can_be_looked_up(self) -> None:
        """A trace that was not recorded is no example."""
        with recording_spans(ratio=0.0):
            async with probe_service(traced=True) as probe:
                _, text = await scrape(probe, OPENMETRICS)
                before = exemplars(text)
                with context.use(UNWANTED), pytest.raises(NotFoundError):
                    await probe.get("raise", "NotFoundError")
                _, text = await scrape(probe, OPENMETRICS)

        assert before == exemplars(text)
