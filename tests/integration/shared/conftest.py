"""A service of probes for every test that wants one."""

import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry.logs import configure_logs
from tests.integration.shared.probe import Probe, probe_service
from tests.recorded_spans import recording_spans

ReadLog = Callable[[], list[dict[str, Any]]]


@pytest.fixture
async def probe() -> AsyncIterator[Probe]:
    """Run a service whose calls do what their requests say."""
    async with probe_service() as probe:
        yield probe


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting_probe() -> AsyncIterator[Probe]:
    """Run one such service for a module whose tests leave nothing behind in it."""
    async with probe_service() as probe:
        yield probe


@pytest.fixture
def recorded() -> Iterator[InMemorySpanExporter]:
    """Record the spans of the test."""
    with recording_spans() as exporter:
        yield exporter


@pytest.fixture
def log_lines() -> Iterator[ReadLog]:
    """Log JSON to memory within the test; call it for the lines so far."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    out = io.StringIO()
    configure_logs("probe", level="debug", log_format="json", environment="development", stream=out)
    # Loggers of modules that were used before would keep what they were made with.
    structlog.configure(cache_logger_on_first_use=False)

    def read() -> list[dict[str, Any]]:
        # Lines are written a moment after they were logged.
        structlog.get_config()["logger_factory"]()._writer.flush()
        return [json.loads(line) for line in out.getvalue().splitlines()]

    yield read
    structlog.reset_defaults()
    root.handlers, level = before
    root.setLevel(level)
