"""One replica's part that lends places and shares, with a connection of its own, served by gRPC."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

from mainstay.channel import Channel
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit import serving_leases, serving_reservations
from services.ratelimit.act import Act
from services.ratelimit.decision import Decision
from services.ratelimit.degradation import degrading_counters
from services.ratelimit.degrading_leases import DegradingLeases
from services.ratelimit.lease import ID_BYTES
from services.ratelimit.leasing import Leasing
from services.ratelimit.overrides import Override
from services.ratelimit.policy import (
    UNLIMITED,
    Algorithm,
    FailureMode,
    Kind,
    Limit,
    Policy,
    Rule,
)
from services.ratelimit.ports import AssignedPlan
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.redis_leases import RedisLeases
from services.ratelimit.redis_reservations import RedisReservations
from services.ratelimit.reserving import Reserving
from services.ratelimit.resolving import Resolver
from services.ratelimit.settings import RateLimitSettings
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from shared.rpc.call import Tenant
from shared.rpc.policy import MethodPolicy
from shared.rpc.server import AddToServer
from shared.service import Service

ACME = Tenant("acme")
ANN = "user:ann"
SECOND = 1_000_000
MINUTE = 60 * SECOND


def per_minute(quota: int) -> Limit:
    return Limit(quota=quota, window=MINUTE)


def places(quota: int) -> Limit:
    return Limit(quota=quota, window=0, algorithm=Algorithm.CONCURRENCY)


def concurrency_rule(name: str, quota: int, **more: Any) -> Rule:
    """Return a rule that covers the endpoint `/name`."""
    return Rule(
        name=name,
        endpoints=(f"/{name}",),
        default=(places(quota),),
        kind=Kind.CONCURRENCY,
        algorithm=Algorithm.CONCURRENCY,
        **more,
    )


def rate_rule(name: str, *limits: Limit, **more: Any) -> Rule:
    """Return a rule that covers the endpoint `/name`."""
    return Rule(name=name, endpoints=(f"/{name}",), default=limits, **more)


VIDEO = concurrency_rule(
    "video", 3, plans={"pro": (places(10),), "enterprise": UNLIMITED}, on_failure=FailureMode.LOCAL
)
CATCH_ALL = Rule(name="api", endpoints=("*",), default=(per_minute(10),))
POLICY = Policy(
    [
        CATCH_ALL,
        rate_rule("chat", per_minute(100)),
        rate_rule("burst", Limit(quota=10, window=SECOND), per_minute(30)),
        rate_rule("free"),
        rate_rule("watched", per_minute(5), shadow=True),
        VIDEO,
        concurrency_rule("watched_video", 1, shadow=True),
        concurrency_rule("open_video", 1, on_failure=FailureMode.OPEN),
        concurrency_rule("closed_video", 1, on_failure=FailureMode.CLOSED),
    ],
    version=7,
)


class Seen(NamedTuple):
    """What an observer was told."""

    tenant: Tenant
    act: Act
    decision: Decision


class Listening:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def record(self, tenant: Tenant, act: Act, decision: Decision) -> None:
        """Remember."""
        self.seen.append(Seen(tenant, act, decision))


class KnownOverrides:
    """Those that a test puts, by rule and subject."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Override] = {}

    def put(self, rule: str, subject: str, *limits: Limit) -> None:
        """Give a subject limits of its own."""
        self.known[rule, subject] = Override(
            tenant=ACME,
            rule=rule,
            subject=subject,
            limits=limits,
            written="",
            expires_at=2**50,
            reason="",
            creator="",
            created_at=0,
            etag="",
        )

    def find(self, tenant: Tenant, rule: str, subject: str) -> Override | None:
        """Return the one that was put."""
        return self.known.get((rule, subject))


class NobodyAssigned:
    """Knows that nobody was put on a plan."""

    def at_hand(self, tenant: Tenant, subject: str) -> AssignedPlan:
        """Say so."""
        return AssignedPlan("")

    async def find(self, tenant: Tenant, subject: str) -> AssignedPlan:
        """Say so."""
        return AssignedPlan("")


# Those of other parts are not implemented here.
METHODS = {
    **{
        method.name: MethodPolicy()
        for method in pb.DESCRIPTOR.services_by_name["RateLimitService"].methods
    },
    **serving_leases.METHODS,
    **serving_reservations.METHODS,
}


class LendingServicer(
    serving_leases.LeaseMethods,
    serving_reservations.ReservationMethods,
    pb_grpc.RateLimitServiceServicer,
):
    """The methods of this part."""

    def __init__(self, leasing: Leasing, reserving: Reserving) -> None:
        self.leasing = leasing
        self.reserving = reserving


@dataclass(frozen=True, slots=True, kw_only=True)
class Lender:
    """What tests reach for."""

    redis: Redis
    leases: DegradingLeases
    reservations: RedisReservations
    leasing: Leasing
    reserving: Reserving
    policies: SimpleNamespace
    overrides: KnownOverrides
    observer: Listening
    channel: Channel
    stub: Any

    async def acquire(self, **fields: Any) -> pb.AcquireLeaseResponse:
        """Ask for a place, of `ann` for a video if nothing else is said."""
        request = pb.AcquireLeaseRequest(**{"subject": ANN, "endpoint": "/video", **fields})
        response: pb.AcquireLeaseResponse = await self.channel.unary(
            self.stub.AcquireLease, request
        )
        return response

    async def renew(self, token: str, **fields: Any) -> pb.Lease:
        """Keep a place."""
        request = pb.RenewLeaseRequest(token=token, **fields)
        answer: pb.RenewLeaseResponse = await self.channel.unary(self.stub.RenewLease, request)
        return answer.lease

    async def release(self, token: str) -> bool:
        """Give a place back."""
        request = pb.ReleaseLeaseRequest(token=token)
        released: bool = (await self.channel.unary(self.stub.ReleaseLease, request)).released
        return released

    async def reserve(self, amount: int, **fields: Any) -> pb.ReserveTokensResponse:
        """Ask for a share, of `ann` for chats if nothing else is said."""
        request = pb.ReserveTokensRequest(
            **{"subject": ANN, "endpoint": "/chat", "amount": amount, **fields}
        )
        response: pb.ReserveTokensResponse = await self.channel.unary(
            self.stub.ReserveTokens, request
        )
        return response

    async def give_back(self, token: str, unused: int) -> int:
        """Give back what of a share was not spent."""
        request = pb.ReturnTokensRequest(token=token, unused=unused)
        returned: int = (await self.channel.unary(self.stub.ReturnTokens, request)).returned
        return returned


@asynccontextmanager
async def lender(
    redis_url: str, *, tenant: str = ACME, replicas: int = 1, redis_timeout: float = 5.0
) -> AsyncIterator[Lender]:
    """Run a replica within the block, which takes itself for one of `replicas`."""
    async with AsyncExitStack() as stack:
        settings = RateLimitSettings.model_validate(
            {"redis_url": redis_url, "ratelimit_port": 0, "ratelimit_ops_port": 0}
        )
        service = Service("ratelimit", settings, port=0, ops_port=0)
        redis = Redis(redis_url, timeout=redis_timeout)
        clock = StoreClock(redis)
        counters = degrading_counters(
            service,
            redis=redis,
            clock=clock,
            store=RedisCounterStore(redis),
            replica=secrets.token_hex(8),
        )
        policies, overrides, observer = (
            SimpleNamespace(current=POLICY),
            KnownOverrides(),
            Listening(),
        )
        resolver = Resolver(overrides, NobodyAssigned())
        leases = DegradingLeases(RedisLeases(redis), replicas=lambda: replicas, now_us=clock.now_us)
        reservations = RedisReservations(redis, new_randomness=_new_randomness)
        leasing = Leasing(
            policies=policies,
            resolver=resolver,
            leases=leases,
            observer=observer,
            now_us=clock.now_us,
            new_randomness=_new_randomness,
        )
        reserving = Reserving(
            policies=policies,
            resolver=resolver,
            store=counters.store,
            reservations=reservations,
            observer=observer,
            now_us=clock.now_us,
        )
        servicer = LendingServicer(leasing, reserving)  # type: ignore[abstract]  # only this part
        add_to_server: AddToServer = pb_grpc.add_RateLimitServiceServicer_to_server
        service.expose(add_to_server, servicer, methods=METHODS)
        service.background("leases", leases.run)
        await stack.enter_async_context(service.running())
        channel = await stack.enter_async_context(Channel(service.address, tenant=tenant))
        yield Lender(
            redis=redis,
            leases=leases,
            reservations=reservations,
            leasing=leasing,
            reserving=reserving,
            policies=policies,
            overrides=overrides,
            observer=observer,
            channel=channel,
            stub=pb_grpc.RateLimitServiceStub(channel.raw),
        )


def _new_randomness() -> bytes:
    return secrets.token_bytes(ID_BYTES)
