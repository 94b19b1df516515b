"""The floor under every call: a bare grpc.aio server that answers with the same messages.

No Redis, no pipeline, no log: what grpcio and protobuf cost on this machine, to compare with.
"""

import asyncio
import os

import grpc
import uvloop
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as limits_pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as limits_pb_grpc

VALUE = b"x" * 100
NOW = Timestamp(seconds=1_700_000_000, nanos=123_000_000)


HEADERS = (
    ("x-ratelimit-limit", "1000000"),
    ("x-ratelimit-remaining", "999999"),
    ("x-ratelimit-reset", "61"),
    ("ratelimit-policy", '"api";q=1000000;w=60'),
    ("ratelimit", '"api";r=999999;t=61'),
)


class EchoServicer(pb_grpc.CacheServiceServicer):
    """Answers Get alone."""

    async def Get(self, request: pb.GetRequest, context: object) -> pb.GetResponse:
        """Return a hit of 100 bytes."""
        # As large as the cache's own answer: a version of 64 bits, both times, and a sequence that
        # counts microseconds.
        return pb.GetResponse(
            hit=pb.Entry(
                value=VALUE,
                version=2**63,
                create_time=NOW,
                expire_time=NOW,
                sequence=NOW.seconds * 1_000_000,
            )
        )


class LimitEchoServicer(limits_pb_grpc.RateLimitServiceServicer):
    """Answers Check alone."""

    async def Check(
        self, request: limits_pb.CheckRequest, context: object
    ) -> limits_pb.CheckResponse:
        """Return an allowed decision with all that one carries."""
        return limits_pb.CheckResponse(
            decision=limits_pb.Decision(
                outcome=limits_pb.OUTCOME_ALLOWED,
                rule="api",
                limit=limits_pb.LimitState(
                    limit=1_000_000,
                    window=Duration(seconds=60),
                    remaining=999_999,
                    reset_time=NOW,
                    rule="api",
                    algorithm=limits_pb.ALGORITHM_SLIDING_WINDOW,
                    admits=True,
                    measure=limits_pb.MEASURE_COST,
                ),
                headers=[limits_pb.Header(name=name, value=value) for name, value in HEADERS],
                decide_time=NOW,
                policy_version=1,
            )
        )


class AlwaysServing(health_pb2_grpc.HealthServicer):
    """Tells the bench when to begin."""

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: object
    ) -> health_pb2.HealthCheckResponse:
        """Return SERVING."""
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    List = Watch = Check  # type: ignore[assignment]


async def main() -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server()
    pb_grpc.add_CacheServiceServicer_to_server(EchoServicer(), server)  # type: ignore[abstract]
    limits_pb_grpc.add_RateLimitServiceServicer_to_server(
        LimitEchoServicer(),  # type: ignore[abstract]
        server,
    )
    health_pb2_grpc.add_HealthServicer_to_server(AlwaysServing(), server)
    server.add_insecure_port(f"127.0.0.1:{os.environ['BENCH_PORT']}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
