"""GetOrLease, Fill, Extend and Abandon as they stand in the contract."""

import asyncio
import math
import time
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.errors import ValidationError
from services.cache.copies import Copies
from services.cache.serving_computing import METHODS, ComputingMethods
from shared.rpc.call import Call, enter_call
from tests.integration.cache.computing.computing_replica import ACME, NAME, Replica, World

PLACE: dict[str, Any] = {"namespace": NAME.namespace, "key": NAME.key}
AT_ONCE = Duration()
CALL = Call(
    method="mainstay.cache.v1.CacheService/GetOrLease",
    tenant=ACME,
    principal="anonymous",
    request_id="r",
    traceparent="",
    tracestate="",
    deadline=math.inf,
)


@pytest.fixture
def servicer(one: Replica, world: World) -> ComputingMethods:
    """Return the methods, as they find themselves in a call of the tenant `acme`."""
    enter_call(CALL)
    servicer = ComputingMethods()
    servicer.computing = one.computing
    servicer.filling = one.filling
    servicer.copies = Copies(world.policy, world.clock.now_ms)
    return servicer


async def ask(servicer: ComputingMethods, **fields: Any) -> pb.GetOrLeaseResponse:
    request = pb.GetOrLeaseRequest(**PLACE, **{"wait": AT_ONCE, **fields})
    return await servicer.GetOrLease(request, None)


async def fill(servicer: ComputingMethods, token: bytes, **fields: Any) -> pb.FillResponse:
    request = pb.FillRequest(**PLACE, lease_token=token, **fields)
    return await servicer.Fill(request, None)


VALUE = pb.FilledValue(value=b"value", content_type="text/plain")


class TestLife:
    async def test_from_miss_to_hit(self, servicer: ComputingMethods) -> None:
        """A miss comes with the lease, and what it was filled with comes back."""
        missed = await ask(servicer)
        filled = await fill(servicer, missed.lease.token, value=VALUE, tags=["t"], ttl_class="near")
        found = await ask(servicer)

        assert missed.miss.reason == pb.MISS_REASON_COLD
        assert missed.lease.duration.seconds == 10
        assert not missed.lease.HasField("stale_version")
        assert filled.outcome == pb.FILL_OUTCOME_STORED
        assert found.WhichOneof("result") == "hit"
        assert (found.hit.value, found.hit.content_type) == (b"value", "text/plain")
        assert (found.hit.version, found.hit.expire_time) == (filled.version, filled.expire_time)
        assert (list(found.hit.tags), found.hit.ttl_class) == (["t"], "near")
        assert found.hit.near_max_age.seconds == 5
        assert not found.HasField("lease")

    async def test_stale(self, servicer: ComputingMethods, world: World) -> None:
        """A stale entry comes with the lease and the version that it refreshes."""
        filled = await fill(servicer, (await ask(servicer)).lease.token, value=VALUE)
        world.clock.ahead_ms = 61_000
        stale = await ask(servicer, lease_duration=Duration(seconds=20))

        assert stale.stale.value == b"value"
        assert stale.lease.stale_version == filled.version
        assert stale.lease.duration.seconds == 20

    async def test_unchanged(self, servicer: ComputingMethods, world: World) -> None:
        """A confirmed entry keeps its version and lives anew."""
        first = await fill(servicer, (await ask(servicer)).lease.token, value=VALUE)
        world.clock.ahead_ms = 61_000
        lease = (await ask(servicer)).lease
        unchanged = pb.UnchangedValue(version=lease.stale_version)
        second = await fill(servicer, lease.token, unchanged=unchanged)

        assert (second.outcome, second.version) == (pb.FILL_OUTCOME_STORED, first.version)
        assert second.expire_time.seconds - first.expire_time.seconds >= 61

    async def test_negative(self, servicer: ComputingMethods) -> None:
        """That there is nothing says until when."""
        token = (await ask(servicer)).lease.token
        filled = await fill(servicer, token, negative=pb.FilledNegative())
        found = await ask(servicer)

        assert found.WhichOneof("result") == "negative"
        assert found.negative.expire_time == filled.expire_time

    async def test_not_modified(self, servicer: ComputingMethods) -> None:
        """Who holds the version learns how long it lasts."""
        filled = await fill(servicer, (await ask(servicer)).lease.token, value=VALUE)
        found = await ask(servicer, if_version=filled.version)

        assert found.WhichOneof("result") == "not_modified"
        assert found.not_modified.expire_time == filled.expire_time
        assert found.not_modified.soft_expire_time.seconds < filled.expire_time.seconds

    async def test_version_zero(self, servicer: ComputingMethods, one: Replica) -> None:
        """Version 0 is one like any other: who names none gets the bytes."""
        entry = (await one.fill(await one.lease())).entry
        assert entry is not None
        await one.store.put(NAME, entry._replace(version=0), 60_000)

        assert (await ask(servicer)).WhichOneof("result") == "hit"
        assert (await ask(servicer, if_version=0)).WhichOneof("result") == "not_modified"

    async def test_failed(self, servicer: ComputingMethods) -> None:
        """What failed is told, and when somebody may try again: after a second by default."""
        token = (await ask(servicer)).lease.token
        request = pb.AbandonRequest(**PLACE, lease_token=token, error="down")
        abandoned = await servicer.Abandon(request, None)
        found = await ask(servicer)

        assert abandoned.held
        assert found.failed.error == "down"
        assert 0 < found.failed.retry_after.ToMilliseconds() <= 1_000
        assert not found.waited

    async def test_up_to_the_deadline(self, servicer: ComputingMethods) -> None:
        """Who says nothing of waiting is held until shortly before the call's deadline."""
        await ask(servicer)
        began = time.monotonic()
        enter_call(CALL._replace(deadline=began + 0.3))
        async with asyncio.timeout(10):
            held = await servicer.GetOrLease(pb.GetOrLeaseRequest(**PLACE), None)

        assert held.waited
        assert not held.HasField("lease")
        assert time.monotonic() - began >= 0.2

    async def test_lost(self, servicer: ComputingMethods) -> None:
        """A lease that is gone says so, whatever is tried with it."""
        token = (await ask(servicer)).lease.token
        request = pb.AbandonRequest(**PLACE, lease_token=token)
        assert (await servicer.Abandon(request, None)).held
        extended = await servicer.Extend(pb.ExtendRequest(**PLACE, lease_token=token), None)
        filled = await fill(servicer, token, value=VALUE)

        assert pb.ExtendResponse(held=False) == extended
        assert pb.FillResponse(outcome=pb.FILL_OUTCOME_LEASE_LOST) == filled
        assert not (await servicer.Abandon(request, None)).held

    async def test_extended(self, servicer: ComputingMethods) -> None:
        """A lease that is held lasts as long as asked from now on."""
        token = (await ask(servicer)).lease.token
        request = pb.ExtendRequest(**PLACE, lease_token=token, lease_duration=Duration(seconds=2))
        extended = await servicer.Extend(request, None)

        assert pb.ExtendResponse(held=True, duration=Duration(seconds=2)) == extended


class TestRefused:
    async def test_no_outcome(self, servicer: ComputingMethods) -> None:
        """A fill has to say what was found."""
        token = (await ask(servicer)).lease.token
        with pytest.raises(ValidationError) as refused:
            await fill(servicer, token)

        assert list(refused.value.fields) == ["outcome"]

    async def test_all_at_once(self, servicer: ComputingMethods) -> None:
        """Every wrong field is named."""
        request = pb.FillRequest(
            namespace="A",
            key="",
            lease_token=b"x",
            value=pb.FilledValue(value=b"v" * 1_001, content_type="\n"),
            ttl=Duration(seconds=-1),
            tags=["ok", ""],
            compute_duration=Duration(seconds=3_601),
        )
        with pytest.raises(ValidationError) as refused:
            await servicer.Fill(request, None)

        assert set(refused.value.fields) == {
            "namespace",
            "key",
            "lease_token",
            "value.value",
            "value.content_type",
            "ttl",
            "tags[1]",
            "compute_duration",
        }


class TestPolicies:
    def test_only_asking_waits(self) -> None:
        """Held callers take no slot of those who work."""
        assert {"GetOrLease"} == {name for name, policy in METHODS.items() if policy.waits}
        assert METHODS["GetOrLease"].max_deadline == 60
