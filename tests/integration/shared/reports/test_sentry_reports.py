"""Which errors Sentry is told of, read from the envelopes that a real HTTP ingest receives."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
import sentry_sdk
import structlog

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.context import RequestContext, request, use
from mainstay.credentials import Credentials
from mainstay.errors import ConfigurationError, InternalError, MainstayError, error_types
from shared.config import CommonSettings
from shared.telemetry.report_rate import IN_ALL, PER_ERROR
from shared.telemetry.sentry import configure_sentry
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import Probe, probe_service
from tests.integration.shared.reports.reporting import (
    BAIT,
    EVERY_WAY,
    GET,
    SECRETS,
    TRACE_ID,
    TRACEPARENT,
    Ask,
    acting,
    after_the_first_message,
    by_unary,
    counted,
    crash,
    crash_raw,
    reported,
)
from tests.integration.shared.sentry_ingest import Ingest
from tests.integration.shared.tokens import Issuer


class TestUnexpectedErrors:
    @EVERY_WAY
    async def test_are_reported_once(self, probe: Probe, ingest: Ingest, ask: Ask) -> None:
        """Whatever kind of call they end, and whenever in it."""
        await crash(probe, ask)
        (event,) = await reported(ingest)

        (value,) = event["exception"]["values"]
        assert ("RuntimeError", "probe") == (value["type"], event["server_name"])
        assert all("vars" not in frame for frame in value["stacktrace"]["frames"])

    async def test_say_what_they_are_about(self, probe: Probe, ingest: Ingest) -> None:
        """Method, request, tenant, error id, and the trace that OTLP has."""
        context = RequestContext(request_id="req-7", tenant="acme", traceparent=TRACEPARENT)
        with use(context), pytest.raises(InternalError) as caught:
            await probe.get("crash")
        (event,) = await reported(ingest)

        assert event["transaction"] == GET
        assert event["tags"] == {
            "method": GET,
            "request_id": "req-7",
            "tenant": "acme",
            "code": "INTERNAL",
            "error_id": caught.value.metadata["error_id"],
        }
        trace = event["contexts"]["trace"]
        assert (TRACE_ID, "internal_error") == (trace["trace_id"], trace["status"])
        assert ("development", False) == (event["environment"], bool(event.get("user")))

    async def test_name_the_span_of_the_service(self, ingest: Ingest) -> None:
        """Where OTLP records it: Sentry links to that very span."""
        async with probe_service(traced=True) as probe:
            with use(RequestContext(request_id="req-7", traceparent=TRACEPARENT)):
                await crash(probe)
            (seen,) = probe.acts.seen
        (event,) = await reported(ingest)

        trace = event["contexts"]["trace"]
        assert seen["traceparent"].split("-")[1:3] == [trace["trace_id"], trace["span_id"]]

    async def test_name_who_called(self, ingest: Ingest, tmp_path: Path) -> None:
        """By the principal's id and by nothing else; an anonymous caller has none."""
        issuer = Issuer(tmp_path)
        who = Credentials(token=issuer.token("svc-billing"))
        async with probe_service(credentials=who, **issuer.settings) as probe:
            await crash(probe)
        (event,) = await reported(ingest)

        assert {"id": "svc-billing"} == event["user"]

    async def test_bring_what_happened_before(
        self, probe: Probe, ingest: Ingest, log_lines: ReadLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The log events of the request and of no request, masked; none of other requests."""

        def fail() -> None:
            structlog.get_logger().info("looked_up", url=SECRETS["url"], password=BAIT)
            raise RuntimeError

        log = structlog.get_logger()
        log.warning("redis_slow", took=1)
        with request(request_id="req-other"):
            log.info("elsewhere")
        acting(monkeypatch, fail)
        with request(request_id="req-7"):
            await crash(probe)
        (event,) = await reported(ingest)

        crumbs = event["breadcrumbs"]["values"]
        names = [crumb["message"] for crumb in crumbs]
        ours = {"redis_slow", "elsewhere", "looked_up"}
        assert ["redis_slow", "looked_up"] == [it for it in names if it in ours]
        assert {"password": "***", "url": "redis://user:***@cache:6379/0"}.items() <= crumbs[-1][
            "data"
        ].items()

    async def test_show_harmless_headers(self, probe: Probe, ingest: Ingest) -> None:
        """Secrets as a mask, and nothing that nobody knows."""
        headers = [
            ("x-request-id", "req-7"),
            ("authorization", f"Bearer {BAIT}"),
            ("cookie", BAIT),
            ("x-api-key", BAIT),
            ("x-odd", BAIT),
        ]
        await crash_raw(probe, *headers)
        (event,) = await reported(ingest)

        shown = event["request"]["headers"]
        assert shown.pop("user-agent").startswith("grpc-python-asyncio")
        assert {
            "x-request-id": "req-7",
            "authorization": "***",
            "cookie": "***",
            "x-api-key": "***",
        } == {name: shown[name] for name in shown if not name.startswith("grpc-")}

    @pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
    async def test_give_no_secrets_away(
        self,
        probe: Probe,
        ingest: Ingest,
        log_lines: ReadLog,
        monkeypatch: pytest.MonkeyPatch,
        secret: str,
    ) -> None:
        """Not one byte: from the error, its cause, locals, headers, ids, log events."""

        def fail() -> None:
            local = {"secret": secret}
            structlog.get_logger().error("trying", text=secret, nested=[{"dsn": secret}])
            raise RuntimeError(f"cannot use {secret}", local) from KeyError(secret)

        acting(monkeypatch, fail)
        for header in ("x-request-id", "user-agent", "x-odd", "x-secret"):
            await crash_raw(probe, (header, secret), ("authorization", secret))
        events = await reported(ingest)

        assert 4 == len(events)
        assert not [raw for raw in ingest.raw if BAIT.encode() in raw]


class TestWhatIsNotReported:
    @pytest.mark.parametrize("ask", [by_unary, after_the_first_message])
    async def test_errors_with_a_name(self, probe: Probe, ingest: Ingest, ask: Ask) -> None:
        """None of the tree: they are part of the plan. But a wrong setting is a fault of ours."""
        for kind in error_types():
            with pytest.raises(MainstayError):
                await ask(probe, f"raise/{kind.__name__}")
        events = await reported(ingest)

        assert [ConfigurationError.__name__] == [
            event["exception"]["values"][-1]["type"] for event in events
        ]

    async def test_callers_that_leave(self, probe: Probe, ingest: Ingest) -> None:
        """Nor deadlines, unknown methods and requests that do not parse."""
        with pytest.raises(MainstayError):
            await probe.get("hold", timeout=0.05)
        await probe.acts.left.acquire()
        for raw in (probe.raw("/no.such/Method"), probe.raw(f"/{GET}")):
            with pytest.raises(grpc.aio.AioRpcError):
                await raw(b"\xff\xff")

        assert [] == await reported(ingest)

    @pytest.mark.parametrize(
        "agent",
        ["Googlebot/2.1", "kube-probe/1.30", "ELB-HealthChecker/2.0", "Envoy/HC", "zgrab/0.x"],
    )
    async def test_bots(self, probe: Probe, ingest: Ingest, agent: str) -> None:
        """Nor what crawlers, scanners and pollers of health run into; they are counted."""
        before = counted("error", "of a bot")
        async with grpc.aio.insecure_channel(
            probe.service.address, options=[("grpc.primary_user_agent", agent)]
        ) as channel:
            call: Any = channel.unary_unary(f"/{GET}")
            with pytest.raises(grpc.aio.AioRpcError):
                await call(cache_pb.GetRequest(namespace="crash").SerializeToString())

        assert ([], 1) == (await reported(ingest), counted("error", "of a bot") - before)

    async def test_without_a_dsn(self) -> None:
        """Nothing is set up, and nothing is missing."""
        configure_sentry("probe", CommonSettings())
        async with probe_service() as probe:
            await crash(probe)

        assert not sentry_sdk.is_initialized()


class TestTheRate:
    @pytest.mark.usefixtures("log_lines")
    async def test_of_one_error_is_bounded(self, probe: Probe, ingest: Ingest) -> None:
        """A fault that is met a thousand times a minute is told a few times, and counted."""
        before = counted("error", "held back")
        await asyncio.gather(*(crash(probe) for _ in range(300)))
        events = await reported(ingest)

        assert (PER_ERROR, 300 - PER_ERROR) == (
            len(events),
            counted("error", "held back") - before,
        )
        assert PER_ERROR < IN_ALL
