"""How tests make a service fail, and read what it reported of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
import sentry_sdk
from prometheus_client import REGISTRY

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.errors import InternalError, MainstayError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from shared.config import CommonSettings
from shared.telemetry.sentry import configure_sentry
from tests.integration.shared.probe import Acts, Probe
from tests.integration.shared.sentry_ingest import Ingest

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
GET = "mainstay.cache.v1.CacheService/Get"
BAIT = "hunter2hunter2"
SECRETS = {
    "url": f"redis://user:{BAIT}@cache:6379/0",
    "bearer": f"Bearer {BAIT}",
    "pair": f"password={BAIT}",
    "dict": repr({"api_key": BAIT}),
    "ours": f"mk_live_{BAIT}",
}
QUIET = {"sentry_traces_sample_ratio": 0.0}


def connect(ingest_dsn: str, **settings: Any) -> None:
    configure_sentry("probe", CommonSettings(sentry_dsn=ingest_dsn, **settings))


async def by_unary(probe: Probe, act: str) -> object:
    name, _, argument = act.partition("/")
    return await probe.get(name, argument)


async def before_the_first_message(probe: Probe, act: str) -> object:
    asked = job_pb.WatchJobRequest(job_id=act)
    return [state async for state in probe.channel.server_stream(probe.jobs.WatchJob, asked)]


async def after_the_first_message(probe: Probe, act: str) -> object:
    asked = job_pb.WatchJobRequest(job_id=act, after_revision=2)
    return [state async for state in probe.channel.server_stream(probe.jobs.WatchJob, asked)]


async def in_a_session(probe: Probe, act: str) -> object:
    call = probe.workers.Session(metadata=probe.channel.metadata())
    await call.write(worker_pb.SessionRequest(hello=worker_pb.Hello(worker=act)))
    await call.done_writing()
    try:
        return [response async for response in call]
    except grpc.aio.AioRpcError as error:
        raise InternalError(str(error.details())) from error


EVERY_WAY = pytest.mark.parametrize(
    "ask", [by_unary, before_the_first_message, after_the_first_message, in_a_session]
)
Ask = Callable[[Probe, str], Awaitable[object]]


async def crash(probe: Probe, ask: Ask = by_unary) -> None:
    with suppress(MainstayError):
        await ask(probe, "crash")


async def crash_raw(probe: Probe, *metadata: tuple[str, str]) -> None:
    with suppress(grpc.aio.AioRpcError):
        await probe.cache.Get(cache_pb.GetRequest(namespace="crash"), metadata=metadata)


async def reported(ingest: Ingest) -> list[dict[str, Any]]:
    """Return the errors that arrived, once all that was sent has."""
    await asyncio.to_thread(sentry_sdk.flush, 10)
    return ingest.items("event")


def counted(kind: str, outcome: str) -> float:
    labels = {"kind": kind, "outcome": outcome}
    return REGISTRY.get_sample_value("mainstay_sentry_reports_total", labels) or 0.0


def acting(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let the servicers do something else."""

    async def perform(*_: object) -> bytes:
        act()
        return b""

    monkeypatch.setattr(Acts, "perform", perform)
