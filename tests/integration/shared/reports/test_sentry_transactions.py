"""Transactions, and the end of a process, as a real HTTP ingest or a dead one sees them."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator

import pytest

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.context import RequestContext, use
from shared.telemetry.sentry import FAREWELL
from shared.telemetry.transactions import PER_SECOND
from tests.integration.shared.probe import probe_service
from tests.integration.shared.reports.reporting import (
    GET,
    TRACE_ID,
    TRACEPARENT,
    connect,
    counted,
    crash,
)
from tests.integration.shared.sentry_ingest import Ingest, sentry_ingest, silent_ingest


class TestTransactions:
    @pytest.fixture
    def everything(self, _disconnected: None) -> Iterator[Ingest]:
        with sentry_ingest() as ingest:
            connect(ingest.dsn, sentry_traces_sample_ratio=1.0)
            yield ingest

    async def test_are_made_of_calls(self, everything: Ingest) -> None:
        """Name, time, status, tenant and the trace, after the call has ended."""
        context = RequestContext(request_id="req-7", tenant="acme", traceparent=TRACEPARENT)
        async with probe_service() as probe:
            with use(context):
                await probe.get("none")
        (sent,) = await asyncio.to_thread(everything.wait_for, "transaction")

        trace = sent["contexts"]["trace"]
        assert (GET, "route") == (sent["transaction"], sent["transaction_info"]["source"])
        assert (TRACE_ID, "rpc.server", "ok") == (trace["trace_id"], trace["op"], trace["status"])
        assert {"tenant": "acme", "request_id": "req-7", "code": "OK"} == sent["tags"]
        assert 0 < sent["timestamp"] - sent["start_timestamp"] < 5

    async def test_leave_out_quiet_methods_and_bots(self, everything: Ingest) -> None:
        """Pollers would be the most of it."""
        async with probe_service() as probe:
            await probe.channel.unary(probe.cache.BatchGet, cache_pb.BatchGetRequest())
            await probe.get("none")
        sent = await asyncio.to_thread(everything.wait_for, "transaction")

        assert [GET] == [each["transaction"] for each in sent]

    async def test_are_bounded(self, everything: Ingest) -> None:
        """A busy service does not spend its time on telling."""
        before = counted("transaction", "sent"), counted("transaction", "held back")
        began = time.time()
        async with probe_service() as probe:
            await asyncio.gather(*(probe.get("none") for _ in range(300)))
        seconds = int(time.time()) - int(began) + 1
        sent, held_back = (
            counted("transaction", outcome) - then
            for outcome, then in zip(("sent", "held back"), before, strict=True)
        )

        assert 300 == sent + held_back
        assert sent <= PER_SECOND * seconds


class TestTheEndOfAProcess:
    @staticmethod
    async def crash_process(dsn: str) -> tuple[int, float, str]:
        """Run a service whose task crashes; return its exit code, its last seconds, its log."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.shared.crashing_service",
            env={**os.environ, "MAINSTAY_SENTRY_DSN": dsn, "MAINSTAY_LOG_FORMAT": "json"},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        ended, lines = 0.0, []
        async with asyncio.timeout(30):
            async for line in process.stdout:
                lines.append(line.decode())
                ended = time.monotonic()
            code = await process.wait()
        return code, time.monotonic() - ended, "".join(lines)

    async def test_a_crash_in_the_background_is_reported(self) -> None:
        """Before the process is gone, with the task's name, and masked."""
        with sentry_ingest() as ingest:
            code, _, _ = await self.crash_process(ingest.dsn)
            event = ingest.items("event")[0]

        (value,) = event["exception"]["values"]
        assert (1, "SweepError", "fatal") == (code, value["type"], event["level"])
        assert "cannot sweep redis://user:***@cache:6379/0" == value["value"]
        assert {"task": "sweep"} == event["tags"]
        assert "service_ready" in [it["message"] for it in event["breadcrumbs"]["values"]]
        assert not [raw for raw in ingest.raw if b"planted" * 2 in raw]

    async def test_waits_a_moment_for_what_is_not_sent(self) -> None:
        """The second report stands in the queue behind the first when all else is over."""
        with sentry_ingest(slow=0.7) as ingest:
            await self.crash_process(ingest.dsn)
            events = ingest.items("event")

        assert {"sweep", "count"} == {event["tags"]["task"] for event in events}

    async def test_does_not_wait_for_an_ingest_that_is_dead(self) -> None:
        """It gets a moment, and the process leaves with its exit code."""
        with silent_ingest() as dsn:
            code, last, log = await self.crash_process(dsn)

        assert 1 == code
        assert "service_stopped" in log
        assert last < FAREWELL + 3


class TestADeadIngest:
    @pytest.mark.usefixtures("_disconnected", "log_lines")
    async def test_slows_nobody(self) -> None:
        """Calls that fail are answered as fast as ever, whatever their reports wait for."""
        with silent_ingest() as dsn:
            connect(dsn, sentry_traces_sample_ratio=1.0)
            async with probe_service() as probe:
                await crash(probe)
                began = time.monotonic()
                for _ in range(100):
                    await crash(probe)
                took = time.monotonic() - began

        assert took < 5
