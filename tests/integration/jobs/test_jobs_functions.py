"""Functions in the database: what workers declare is what those who start jobs read."""

from collections.abc import AsyncIterator

import pytest

from services.jobs.function import (
    Debounce,
    DeclaredFunction,
    FunctionDefinition,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
)
from services.jobs.postgres_functions import find_functions, functions_for_events
from services.jobs.retry import Backoff
from shared.rpc.call import Tenant
from tests.integration.jobs.claiming import Store, function, job_store

ACME = Tenant("acme")
EVERYTHING = FunctionDefinition(
    name="f",
    trigger="video/upload.completed",
    max_attempts=7,
    backoff=Backoff(initial=0.25, maximum=90.5),
    version="v1",
    version_policy=VersionPolicy.FAIL,
    timeout=1.5,
    hang_timeout=2.5,
    start_timeout=3.5,
    priority=-9,
    concurrency=11,
    key_pointer="/k",
    key_limit=3,
    rate_limit=RateLimit(endpoint="mail", subject="/k"),
    debounce=Debounce(period=4.5, key="/d", max_wait=6.0),
    idempotency="/i",
    overflow=Overflow(
        policy=OverflowPolicy.SHED_OLDEST, max_depth=5, max_age=7.5, max_bytes=8, spill_delay=9.5
    ),
)


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """Provide a store."""
    async with job_store(postgres_url) as store:
        yield store


async def found(store: Store, tenant: str = "acme") -> dict[str, DeclaredFunction]:
    """Return the function f of a tenant, if there is one."""
    async with store.postgres.transaction(Tenant(tenant)) as connection:
        return await find_functions(connection, Tenant(tenant), ["f"])


async def triggered(store: Store, event: str) -> list[DeclaredFunction]:
    """Return what an event of acme starts."""
    async with store.postgres.transaction(ACME) as connection:
        return await functions_for_events(connection, ACME, [event])


class TestDeclaring:
    @pytest.mark.parametrize("declared", [EVERYTHING, function()], ids=["everything", "nothing"])
    async def test_comes_back(self, store: Store, declared: FunctionDefinition) -> None:
        """All that was declared is read as it was."""
        await store.declare(declared)

        assert {"f": DeclaredFunction(tenant="acme", definition=declared)} == await found(store)

    async def test_newest_counts(self, store: Store) -> None:
        """The newest declaration takes the place of the one before, as a whole."""
        await store.declare(EVERYTHING)
        await store.declare(function())

        assert function() == (await found(store))["f"].definition

    async def test_same_again(self, store: Store) -> None:
        """The same declaration again writes nothing."""
        await store.declare(EVERYTHING)
        before = await store.fetch("SELECT xmin::text, update_time FROM jobs.functions")
        await store.declare(EVERYTHING)

        # Only the lock on the row is new.
        after = await store.fetch("SELECT xmin::text, update_time FROM jobs.functions")
        assert before == after


class TestReading:
    async def test_own_before_that_for_all(self, store: Store) -> None:
        """A tenant's own function goes before the one for all, whatever starts it."""
        await store.declare(function(trigger="a"), function("g", trigger="a"), tenant="*")
        await store.declare(function(trigger="b"))

        by_event = {
            event: [(each.tenant, each.definition.name) for each in await triggered(store, event)]
            for event in ("a", "b")
        }

        assert {"a": [("*", "g")], "b": [("acme", "f")]} == by_event
        assert "acme" == (await found(store))["f"].tenant
        assert "*" == (await found(store, "globex"))["f"].tenant

    async def test_not_of_others(self, store: Store) -> None:
        """The function of another tenant does not exist."""
        await store.declare(function(trigger="a"), tenant="globex")

        assert ({}, []) == (await found(store), await triggered(store, "a"))
