"""A service that Envoy can ask: a real store and a real server, with a policy of the test's own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mainstay.channel import Channel
from mainstay.envoy.ratelimit.v3 import rls_pb2 as pb
from mainstay.envoy.ratelimit.v3 import rls_pb2_grpc as pb_grpc
from services.ratelimit.act import Act
from services.ratelimit.decision import Decision
from services.ratelimit.envoy_limiting import EnvoyLimiting
from services.ratelimit.limiter import Limiter
from services.ratelimit.overrides import Override
from services.ratelimit.policy import Limit, Policy
from services.ratelimit.policy_file import parse_policy
from services.ratelimit.ports import AssignedPlan
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.resolving import Resolver
from services.ratelimit.serving_envoy import METHODS, EnvoyServicer
from services.ratelimit.settings import RateLimitSettings
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from shared.rpc.call import Tenant
from shared.service import Service

Entries = Sequence[tuple[str, str | bytes]]

OK, OVER_LIMIT = pb.RateLimitResponse.OK, pb.RateLimitResponse.OVER_LIMIT


@dataclass(kw_only=True)
class Circumstances:
    """What holds for subjects beside the policy, and what was observed.

    Attributes:
        plans: The plans that subjects were assigned.
        overrides: The limits that subjects have of their own, by rule and subject.
        observed: Acts and decisions that evidence is kept of.
        policy: The policy in force.

    """

    policy: Policy
    plans: dict[str, str] = field(default_factory=dict)
    overrides: dict[tuple[str, str], tuple[Limit, ...]] = field(default_factory=dict)
    observed: list[tuple[Tenant, Act, Decision]] = field(default_factory=list)

    @property
    def current(self) -> Policy:
        """Return the policy in force."""
        return self.policy

    def find(self, tenant: Tenant, rule: str, subject: str) -> Override | None:
        """Return the override of a subject."""
        limits = self.overrides.get((rule, subject))
        if limits is None:
            return None
        return Override(
            tenant=tenant,
            rule=rule,
            subject=subject,
            limits=limits,
            written="",
            expires_at=2**53,
            reason="",
            creator="",
            created_at=0,
            etag="",
        )

    def record(self, tenant: Tenant, act: Act, decision: Decision) -> None:
        """Keep what is observed."""
        self.observed.append((tenant, act, decision))


class Assignments:
    """Knows the plans of the circumstances."""

    def __init__(self, circumstances: Circumstances) -> None:
        self._plans = circumstances.plans

    def at_hand(self, tenant: Tenant, subject: str) -> AssignedPlan | None:
        """Return nothing: everybody has to be looked up."""
        return None

    async def find(self, tenant: Tenant, subject: str) -> AssignedPlan:
        """Return the plan of a subject."""
        return AssignedPlan(self._plans.get(subject, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What tests reach for."""

    channel: Channel
    limiter: Limiter
    circumstances: Circumstances

    async def ask(
        self, *descriptors: pb.RateLimitDescriptor, domain: str = "edge", hits: int = 0
    ) -> pb.RateLimitResponse:
        """Ask as Envoy does."""
        stub = pb_grpc.RateLimitServiceStub(self.channel.raw)
        request = pb.RateLimitRequest(domain=domain, descriptors=descriptors, hits_addend=hits)
        return await self.channel.unary(stub.ShouldRateLimit, request)

    async def left(self, *descriptors: pb.RateLimitDescriptor) -> list[int]:
        """Look at what remains for descriptors."""
        for descriptor in descriptors:
            descriptor.hits_addend.value = 0
        answer = await self.ask(*descriptors)
        return [status.limit_remaining for status in answer.statuses]


def descriptor(
    *entries: tuple[str, str | bytes], hits: int | None = None, gives_back: bool = False
) -> pb.RateLimitDescriptor:
    """Return a descriptor as Envoy makes it."""
    made = pb.RateLimitDescriptor(is_negative_hits=gives_back)
    for key, value in entries:
        made.entries.add(key=key, value=value if isinstance(value, bytes) else value.encode())
    if hits is not None:
        made.hits_addend.value = hits
    return made


@asynccontextmanager
async def edge_service(redis_url: str, policy: str) -> AsyncIterator[Edge]:
    """Serve within the block."""
    settings = RateLimitSettings.model_validate(
        {"redis_url": redis_url, "ratelimit_port": 0, "ratelimit_ops_port": 0}
    )
    service = Service("ratelimit", settings, port=0, ops_port=0)
    redis = service.use(Redis(redis_url, timeout=5))
    clock = service.use(StoreClock(redis))
    store = RedisCounterStore(redis)
    circumstances = Circumstances(policy=parse_policy(policy, "ratelimit.yaml"))
    resolver = Resolver(circumstances, Assignments(circumstances))
    limiter = Limiter(
        policies=circumstances,
        resolver=resolver,
        store=store,
        observer=circumstances,
        now_us=lambda: clock.now_ms() * 1_000,
    )
    limiting = EnvoyLimiting(
        policies=circumstances,
        resolver=resolver,
        limiter=limiter,
        store=store,
        observer=circumstances,
    )
    service.expose(
        pb_grpc.add_RateLimitServiceServicer_to_server, EnvoyServicer(limiting), methods=METHODS
    )
    async with service.running(), Channel(service.address, tenant="acme") as channel:
        yield Edge(channel=channel, limiter=limiter, circumstances=circumstances)
