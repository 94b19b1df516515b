"""Every list that has pages: what is there throughout is on exactly one of them.

The methods are found in the contracts: one that is added has to be listed here.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from mainstay.cache.v1 import cache_service_pb2
from mainstay.errors import ValidationError
from mainstay.errors_wire import translate
from mainstay.health.v1 import health_service_pb2
from mainstay.jobs.v1 import job_service_pb2, worker_service_pb2
from mainstay.ratelimit.v1 import ratelimit_service_pb2
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from shared.pages import page_token
from shared.postgres.queries import load_queries
from tests.integration.jobs.conftest import jobs_service

POLICIES = Path(__file__).parents[3] / "policies"
METADATA = (("x-mainstay-tenant", "acme"),)
CONTRACTS: list[FileDescriptor] = [
    cache_service_pb2.DESCRIPTOR,
    health_service_pb2.DESCRIPTOR,
    job_service_pb2.DESCRIPTOR,
    worker_service_pb2.DESCRIPTOR,
    ratelimit_service_pb2.DESCRIPTOR,
]
PAGED: dict[str, MethodDescriptor] = {
    method.name: method
    for contract in CONTRACTS
    for service in contract.services_by_name.values()
    for method in service.methods
    if "page_token" in method.input_type.fields_by_name
}
# Of the cache's sets Redis keeps the place (see test_cache_sets.py); of the rules the policy does,
# which changes as a whole (see test_ratelimit_listing.py); incidents have a service of their own.
ELSEWHERE = {"ListSetMembers", "ListLimits", "GetHistory"}
ROWS = load_queries("tests.integration.paging", "rows.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list: which rows it is made of, where they are in an answer, and how they are named.

    Attributes:
        of: The name of the statements that add and take away a row.
        rows: The field of the answer.
        name: What tells one from another, as a path.
        prefix: Of that name, before the number.
        descending: Whether the list begins with the greatest number.
        request: What else is asked for.

    """

    of: str
    rows: str
    name: str = "name"
    prefix: str = "n"
    descending: bool = False
    request: dict[str, Any] = field(default_factory=dict)

    def name_of(self, row: Any) -> str:
        """Return what tells one row from another."""
        found = row
        for part in self.name.split("."):
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        return str(found)

    def named(self, number: int) -> str:
        """Return the name of a row."""
        return f"{self.prefix}{number:012d}"


JOB: dict[str, Any] = {"name": "job_id", "prefix": "00000000-0000-7000-8000-", "descending": True}
LISTINGS = {
    "ListJobs": Listing(of="jobs", rows="jobs", **JOB),
    "ListDeadLetters": Listing(of="dead_letters", rows="jobs", **JOB),
    "ListQueues": Listing(of="functions", rows="queues"),
    "ListFunctions": Listing(of="functions", rows="functions"),
    "ListSchedules": Listing(of="schedules", rows="schedules"),
    "ListEventSchemas": Listing(of="event_schemas", rows="schemas"),
    "ListWorkers": Listing(of="sessions", rows="workers"),
    "ListOverrides": Listing(of="overrides", rows="overrides", name="subject"),
    "ListPolicyVersions": Listing(
        of="policy_versions", rows="versions", name="creator", descending=True
    ),
    "ListViolations": Listing(of="violations", rows="violations", name="subject", descending=True),
    "SummarizeAiUsage": Listing(
        of="ai_usage",
        rows="groups",
        name="values.0",
        descending=True,
        request={"group_by": ["AI_USAGE_DIMENSION_SUBJECT"]},
    ),
}


class Caller:
    """Calls methods by their descriptors, as the tenant acme."""

    def __init__(self, channels: dict[str, grpc.aio.Channel], database: asyncpg.Connection) -> None:
        self._channels = channels
        self._database = database

    async def call(self, method: MethodDescriptor, **request: Any) -> Any:
        """Return the answer; raises our errors."""
        service = method.containing_service
        unary = self._channels[service.file.package].unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        try:
            return await unary(
                GetMessageClass(method.input_type)(**request), metadata=METADATA, timeout=10
            )
        except grpc.aio.AioRpcError as error:
            raise translate(error) from None

    async def execute(self, statement: str, *numbers: int) -> None:
        """Run a statement for each number."""
        for number in numbers:
            await self._database.execute(ROWS[statement], number)


@pytest.fixture
async def caller(migrated_url: str, redis_url: str) -> AsyncIterator[Caller]:
    """Serve jobs and rate limits on one database, and connect to both."""
    settings = RateLimitSettings.model_validate(
        {
            "redis_url": redis_url,
            "postgres_url": migrated_url,
            "policies_dir": POLICIES,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
        }
    )
    async with AsyncExitStack() as stack:
        jobs = await stack.enter_async_context(jobs_service(migrated_url).running())
        ratelimit = await stack.enter_async_context(build(settings).running())
        channels = {
            "mainstay.jobs.v1": grpc.aio.insecure_channel(jobs.address),
            "mainstay.ratelimit.v1": grpc.aio.insecure_channel(ratelimit.address),
        }
        for channel in channels.values():
            await stack.enter_async_context(channel)
        database = await asyncpg.connect(migrated_url)
        stack.push_async_callback(database.close)
        await database.execute("SET mainstay.tenant = '*'")
        yield Caller(channels, database)


class TestEveryList:
    def test_is_known_here(self) -> None:
        """A method that gets pages gets them by the same rules."""
        assert PAGED.keys() == LISTINGS.keys() | ELSEWHERE

    @pytest.mark.parametrize("name", sorted(LISTINGS))
    async def test_shows_what_stays_exactly_once(self, caller: Caller, name: str) -> None:
        """Whatever comes before, after and in between, and whatever goes that was shown already."""
        listing, method = LISTINGS[name], PAGED[name]
        stay = [10, 20, 30, 40, 50, 60]
        await caller.execute(f"add_{listing.of}", *stay)
        shown: list[str] = []
        first = await caller.call(method, page_size=2, **listing.request)
        shown += [listing.name_of(row) for row in getattr(first, listing.rows)]
        seen = [number for number in stay if listing.named(number) in shown]
        await caller.execute(f"take_{listing.of}", *seen[:1])
        await caller.execute(f"add_{listing.of}", 5, 15, 25, 35, 45, 55, 65)
        token = first.next_page_token
        while token:
            page = await caller.call(method, page_size=2, page_token=token, **listing.request)
            shown += [listing.name_of(row) for row in getattr(page, listing.rows)]
            token = page.next_page_token
        ordered = sorted(stay, reverse=listing.descending)

        assert [listing.named(number) for number in ordered] == [
            each for each in shown if each in {listing.named(number) for number in stay}
        ]
        assert len(set(shown)) == len(shown)

    @pytest.mark.parametrize("token", ["nonsense", page_token(["a", "b", "c", "d", "e"])])
    async def test_refuses_a_token_of_another(self, caller: Caller, token: str) -> None:
        """It names the field and begins nowhere."""
        for name, listing in LISTINGS.items():
            with pytest.raises(ValidationError) as caught:
                await caller.call(PAGED[name], page_token=token, **listing.request)

            assert ["page_token"] == list(caught.value.fields)
