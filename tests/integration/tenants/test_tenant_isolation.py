"""Nothing of one tenant is read, changed or found out by another: every method of the contract.

The services run with real API keys and as the role that owns nothing of the database.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio
import redis

from mainstay.errors import MainstayError
from shared.identity.scopes import OPEN
from shared.rpc.gate import scope_of
from shared.rpc.policy import MethodPolicy
from tests.app_role import app_database
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import Case, ForOperators, Thing
from tests.integration.tenants.contract import METHODS
from tests.integration.tenants.registry import REGISTRY
from tests.integration.tenants.stage import ACME, GLOBEX, Stage, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES = {name: entry for name, entry in REGISTRY.items() if isinstance(entry, Case)}
OPERATORS = [name for name, entry in REGISTRY.items() if isinstance(entry, ForOperators)]
SHOWN_WITHIN = 15.0
FOREIGN = {
    "envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit": "ratelimit:check",
    "grpc.health.v1.Health.Check": OPEN,
    "grpc.health.v1.Health.List": OPEN,
    "grpc.health.v1.Health.Watch": OPEN,
}


def scope(method: str) -> str:
    """Return what a method asks of its callers."""
    return FOREIGN.get(method) or scope_of(method, MethodPolicy())


CLOSED = [name for name in METHODS if scope(name) != OPEN]
ANSWERING = [name for name in METHODS if scope(name) == OPEN and not METHODS[name].server_streaming]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    session_redis_url: str,
    session_postgres_url: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stage]:
    """Run the services for all tests of this module, which do not get in each other's way."""
    with redis.Redis.from_url(session_redis_url) as connection:
        connection.flushall()
    directory = tmp_path_factory.mktemp("policies")
    async with (
        app_database(session_postgres_url, migrated_template) as (owner, app),
        staged(session_redis_url, app, owner, directory) as stage,
    ):
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(stage: Stage) -> Caller:
    """Connect a principal of the tenant whose things it is about."""
    return await stage.caller(ACME)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def globex(stage: Stage) -> Caller:
    """Connect a principal of another one."""
    return await stage.caller(GLOBEX)


def new_thing() -> Thing:
    """Return what nobody else in these tests has."""
    return Thing(name=f"thing-{secrets.token_hex(6)}", secret=f"secret-{secrets.token_hex(12)}")


async def seen(case: Case, owner: Caller, thing: Thing) -> object:
    return None if case.state is None else await case.state(owner, thing)


def holds(answer: Any, thing: Thing) -> bool:
    """Whether what stands in a thing is anywhere in an answer."""
    messages = answer if isinstance(answer, list) else [answer]
    return any(thing.secret.encode() in message.SerializeToString() for message in messages)


async def tried(reach: Callable[[], Awaitable[Any]]) -> Any:
    """Return the answer, or the error in its place."""
    try:
        return await reach()
    except MainstayError as error:
        return error


async def check_kept_out(case: Case, answer: Any, thing: Thing) -> None:
    """Assert that an answer to another has nothing of the thing in it."""
    if isinstance(answer, MainstayError):
        assert case.refused
        assert answer.code in case.refusals
        assert thing.secret not in f"{answer.message} {answer.metadata}"
        return
    assert not case.refused
    assert not holds(answer, thing)
    assert case.shows is None or not case.shows(answer, thing)


def shown(case: Case, answer: Any, thing: Thing) -> bool:
    return case.shows is None or case.shows(answer, thing)


async def check_owner(case: Case, owner: Caller, thing: Thing, before: object) -> None:
    """Assert that its owner reaches the thing by the very same call."""
    if case.owner_refused is not None:
        refused = await tried(lambda: case.reach(owner, thing))
        assert isinstance(refused, MainstayError)
        assert case.owner_refused == refused.code
        return
    answer = await case.reach(owner, thing)
    deadline = time.monotonic() + SHOWN_WITHIN
    while case.late and not shown(case, answer, thing) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        answer = await case.reach(owner, thing)
    assert shown(case, answer, thing)
    if case.changes:
        assert before != await seen(case, owner, thing)


class TestTheContract:
    @pytest.mark.parametrize("method", CASES)
    async def test_keeps_tenants_apart(self, acme: Caller, globex: Caller, method: str) -> None:
        """Another gets nothing of it and changes nothing of it; its owner does by the same call."""
        case = CASES[method]
        thing = await case.make(acme, new_thing())
        before = await seen(case, acme, thing)

        await check_kept_out(case, await tried(lambda: case.reach(globex, thing)), thing)
        assert before == await seen(case, acme, thing)

        await check_owner(case, acme, thing, before)
        if case.late:  # only now it is sure to be there
            await check_kept_out(case, await tried(lambda: case.reach(globex, thing)), thing)

    @pytest.mark.parametrize("method", CASES)
    async def test_nobody_reaches_it_by_naming_its_tenant(
        self, acme: Caller, globex: Caller, method: str
    ) -> None:
        """Credentials of one tenant are good for that one alone, whatever the metadata say."""
        case = CASES[method]
        thing = await case.make(acme, new_thing())
        before = await seen(case, acme, thing)

        refused = await tried(lambda: case.reach(globex.naming(ACME), thing))

        assert isinstance(refused, MainstayError)
        assert ("TENANT_FORBIDDEN", grpc.StatusCode.PERMISSION_DENIED) == (
            refused.reason,
            refused.code,
        )
        assert before == await seen(case, acme, thing)

    @pytest.mark.parametrize("method", OPERATORS)
    async def test_keeps_what_is_of_all_from_each(self, globex: Caller, method: str) -> None:
        """Who is bound to a tenant reaches nothing that all of them share."""
        assert (grpc.StatusCode.PERMISSION_DENIED, "ALL_TENANTS_REQUIRED") == (
            await globex.refusal(method)
        )


class TestCallers:
    @pytest.mark.parametrize("method", CLOSED)
    async def test_have_to_say_who_they_are(self, stage: Stage, method: str) -> None:
        """Nobody is served without credentials."""
        assert (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING") == (
            await stage.nobody.refusal(method)
        )

    @pytest.mark.parametrize("method", CLOSED)
    @pytest.mark.parametrize("tenant", [ACME, "*"])
    async def test_name_no_tenant_but_their_own(
        self, globex: Caller, method: str, tenant: str
    ) -> None:
        """Not even all of them."""
        assert (grpc.StatusCode.PERMISSION_DENIED, "TENANT_FORBIDDEN") == (
            await globex.naming(tenant).refusal(method)
        )

    @pytest.mark.parametrize("method", CLOSED)
    async def test_need_the_scope_of_the_method(self, stage: Stage, method: str) -> None:
        """All others together do not stand in for it."""
        caller = await stage.lacking(scope(method))

        assert (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") == await caller.refusal(method)

    @pytest.mark.parametrize("method", ANSWERING)
    async def test_are_not_asked_by_what_balancers_ask(self, stage: Stage, method: str) -> None:
        """It answers, whatever it may have to say."""
        code, _ = await stage.nobody.refusal(method)

        assert code in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
