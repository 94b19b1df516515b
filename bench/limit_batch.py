"""Decisions a second by CheckBatch of 100, as fast as callers in a process of their own can."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench.limit_contenders import CONNECTIONS, ENDPOINT
from bench.limit_rates import SUBJECTS, service
from bench.report import OURS, Comparison, Findings
from bench.target import Connection, Target
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc

BATCH = 100
CALLERS = 8
SECONDS = 2.0
ROUNDS = 5
BAR = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one round found; CPU is microseconds for a decision."""

    decisions: float
    service: float
    redis: float


async def run() -> Findings:
    """Let callers ask again as soon as they were answered."""
    async with service() as target, AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(Connection(target.address)) for _ in range(CONNECTIONS)
        ]
        rounds = [await _closed_loop(target, connections) for _ in range(ROUNDS + 1)]
    return _findings(rounds[1:])  # the first warms up


async def _closed_loop(target: Target, connections: list[Connection]) -> Speed:
    deadline = time.perf_counter() + SECONDS
    stubs = [pb_grpc.RateLimitServiceStub(connection.raw) for connection in connections]

    async def caller(number: int) -> int:
        request = pb.CheckBatchRequest(
            acts=[
                pb.Act(subject=f"user:{(number * BATCH + n) % SUBJECTS}", endpoint=ENDPOINT)
                for n in range(BATCH)
            ]
        )
        connection, stub = connections[number % CONNECTIONS], stubs[number % CONNECTIONS]
        done = 0
        while time.perf_counter() < deadline:
            response = await connection.unary(stub.CheckBatch, request)
            done += sum(each.outcome == pb.OUTCOME_ALLOWED for each in response.decisions)
        return done

    own, redis = target.service.cpu_seconds(), await target.redis_cpu_seconds()
    began = time.perf_counter()
    done = sum(await asyncio.gather(*map(caller, range(CALLERS))))
    passed = time.perf_counter() - began
    return Speed(
        decisions=done / passed,
        service=(target.service.cpu_seconds() - own) / done * 1e6,
        redis=(await target.redis_cpu_seconds() - redis) / done * 1e6,
    )


def _findings(rounds: list[Speed]) -> Findings:
    decisions = statistics.median(speed.decisions for speed in rounds)
    own = statistics.median(speed.service for speed in rounds)
    redis = statistics.median(speed.redis for speed in rounds)
    rows = [
        Comparison(
            what=f"CheckBatch of {BATCH}, decisions/s",
            bar=f"≥ {BAR:,}",
            met=decisions >= BAR,
            figures={OURS: f"{decisions:,.0f}"},
        ),
        Comparison(what="  CPU of the service, µs", figures={OURS: f"{own:.1f}"}),
        Comparison(what="  CPU of Redis, µs", figures={OURS: f"{redis:.1f}"}),
    ]
    note = (
        f"Batch: {CALLERS} callers over {CONNECTIONS} connections in one process, one process of "
        "the service, one Redis, all on these cores; every decision is allowed and consumes."
    )
    return Findings(rows=rows, note=note)
