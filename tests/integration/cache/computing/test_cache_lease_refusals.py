"""What is refused of those who ask for leases or fill, and how."""

import pytest

from mainstay.errors import CacheError, PreconditionError, ValidationError
from services.cache.entry import Kind, MissReason
from services.cache.fill import FillState, Value
from services.cache.lease import Lease
from tests.integration.cache.computing.computing_replica import (
    NAME,
    Replica,
)


class TestRefusals:
    @pytest.mark.parametrize(
        ("wanted", "field"),
        [
            ({"lease_ms": 9}, "lease_duration"),
            ({"wait_ms": -1}, "wait"),
            ({"wait_ms": 60_001}, "wait"),
            ({"ttl_class": "unknown"}, "ttl_class"),
        ],
    )
    async def test_of_asking(self, one: Replica, wanted: dict[str, object], field: str) -> None:
        """What is out of bounds is named."""
        with pytest.raises(ValidationError) as refused:
            await one.ask(**wanted)  # type: ignore[arg-type]

        assert [field] == list(refused.value.fields)

    @pytest.mark.parametrize(
        ("fill", "field"),
        [
            ({"found": None}, "outcome"),
            ({"found": Value(value=b"x" * 1_001)}, "value.value"),
            ({"found": Value(value=b"", content_type="é")}, "value.content_type"),
            ({"tags": ("",)}, "tags[0]"),
            ({"compute_ms": -1}, "compute_duration"),
            ({"lease_token": b""}, "lease_token"),
        ],
    )
    async def test_of_filling(self, one: Replica, fill: dict[str, object], field: str) -> None:
        """What is wrong is named before anything happens: the lease goes on."""
        lease = await one.lease()
        with pytest.raises(ValidationError) as refused:
            await one.fill(lease, **fill)  # type: ignore[arg-type]

        assert [field] == list(refused.value.fields)
        assert FillState.STORED is (await one.fill(lease)).state

    async def test_of_another_entry(self, one: Replica) -> None:
        """A token is good for its entry of its tenant only, for all that can be done with it."""
        lease = await one.lease()
        for name in (NAME._replace(tenant="evil"), NAME._replace(key="another")):
            with pytest.raises(PreconditionError) as refused:
                await one.fill(lease, name=name)
            assert refused.value.reason == "LEASE_OF_ANOTHER"

        foreign = await one.lease(NAME._replace(key="another"))
        with pytest.raises(PreconditionError):
            await one.extend(foreign, 10_000)
        with pytest.raises(PreconditionError):
            await one.abandon(foreign)

    async def test_of_an_invented_token(self, one: Replica, other: Replica) -> None:
        """A token that fits the entry but was not granted has no power."""
        lease = await one.lease()
        invented = Lease(
            token=lease.token[:-1] + bytes((lease.token[-1] ^ 1,)),
            duration_ms=0,
            stale_version=None,
        )

        assert FillState.LEASE_LOST is (await other.fill(invented)).state
        assert not await other.abandon(invented, error="evil")
        assert await other.extend(invented, 10_000) == 0
        assert FillState.STORED is (await one.fill(lease)).state

    @pytest.mark.parametrize("kind", [Kind.LIST, Kind.SET])
    async def test_of_a_list_or_a_set(self, one: Replica, kind: Kind) -> None:
        """They are not computed."""
        entry = (await one.fill(await one.lease())).entry
        assert entry is not None
        await one.store.put(NAME, entry._replace(kind=kind), 60_000)
        with pytest.raises(PreconditionError) as refused:
            await one.ask()

        assert refused.value.reason == "WRONG_KIND"


class TestStoreGone:
    async def test_asking(self, one: Replica) -> None:
        """Who asks without a store is told so, and it is counted."""
        await one.redis.close()
        with pytest.raises(CacheError):
            await one.ask()

        assert one.counted().misses == {MissReason.STORE_UNAVAILABLE: 1}
