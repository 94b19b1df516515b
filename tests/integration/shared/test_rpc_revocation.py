"""A key is revoked while it is in use: calls are refused, and streams that lasted end."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from shared.identity.api_key import NewKey, mint
from shared.identity.ports import KeyOrder
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.postgres_keys import identity_postgres
from shared.postgres.pool import Postgres
from shared.rpc.call import ALL_TENANTS, Tenant
from tests.integration.shared.probe import Probe, probe_service

PROMISED = 5.0
PATIENCE = 20.0
CROWD = 40
"""Callers: one after the other they would take twice as long as is promised."""


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Postgres]:
    """Open the database of the keys."""
    store = identity_postgres(postgres_url, migrate=True)
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def guarded(store: Postgres, postgres_url: str) -> AsyncIterator[Probe]:
    """Run a service whose callers show keys."""
    async with probe_service(auth="api-key", postgres_url=postgres_url, request_log=False) as probe:
        yield probe


async def _create(store: Postgres, name: str) -> NewKey:
    key = mint(secrets.choice)
    order = KeyOrder(name=name, tenant=Tenant("acme"), scopes=("*",), lifetime=None)
    await PostgresKeyAdministration(store).create(key, order, by="test")
    return key


async def _revoke(store: Postgres, key: NewKey) -> float:
    await PostgresKeyAdministration(store).revoke(key.key_id, by="test")
    return time.monotonic()


def _shown(key: NewKey) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key.text}"),)


async def _session(probe: Probe, key: NewKey) -> Any:
    """Return a stream that has begun."""
    session = probe.workers.Session(metadata=_shown(key))
    await session.write(worker_pb.SessionRequest(hello=worker_pb.Hello(worker="call")))
    await session.read()
    return session


class TestRevocation:
    async def test_ends_streams(self, guarded: Probe, store: Postgres) -> None:
        """Within the five seconds of every other call, and as the caller's own fault."""
        key, other = await _create(store, "leaves"), await _create(store, "stays")
        watch = guarded.jobs.WatchJob(job_pb.WatchJobRequest(job_id="hold"), metadata=_shown(key))
        session = await _session(guarded, key)
        lasting = await _session(guarded, other)
        await guarded.acts.entered.acquire()
        revoked = await _revoke(store, key)

        async with asyncio.timeout(PATIENCE):
            codes = [await watch.code(), await session.code()]
        took = time.monotonic() - revoked
        await lasting.write(worker_pb.SessionRequest(hello=worker_pb.Hello(worker="call")))
        answer = await lasting.read()
        lasting.cancel()

        assert [grpc.StatusCode.UNAUTHENTICATED] * 2 == codes
        assert took < PROMISED
        assert isinstance(answer, worker_pb.SessionResponse)
        assert answer.WhichOneof("frame") == "welcome"
        assert guarded.acts.how == ["cancelled"]

    async def test_ends_long_polls(self, guarded: Probe, store: Postgres) -> None:
        """Which wait as long as a stream might, though they are calls."""
        key = await _create(store, "leaves")
        poll = guarded.jobs.GetJob(job_pb.GetJobRequest(job_id="hold"), metadata=_shown(key))
        await guarded.acts.entered.acquire()
        revoked = await _revoke(store, key)

        async with asyncio.timeout(PATIENCE):
            code = await poll.code()

        assert grpc.StatusCode.UNAUTHENTICATED == code
        assert time.monotonic() - revoked < PROMISED
        assert guarded.acts.how == ["cancelled"]

    async def test_ends_the_streams_of_many_at_once(self, guarded: Probe, store: Postgres) -> None:
        """Nobody waits until others have been looked up."""
        keys = [await _create(store, f"leaves {number}") for number in range(CROWD)]
        sessions = [await _session(guarded, key) for key in keys]
        await asyncio.gather(*(_revoke(store, key) for key in keys))
        revoked = time.monotonic()

        async with asyncio.timeout(PATIENCE):
            codes = [await session.code() for session in sessions]

        assert [grpc.StatusCode.UNAUTHENTICATED] * CROWD == codes
        assert time.monotonic() - revoked < PROMISED

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ("scopes = '{cache:read}'", grpc.StatusCode.PERMISSION_DENIED),
            ("tenant = 'globex'", grpc.StatusCode.UNAUTHENTICATED),
        ],
    )
    async def test_may_be_of_a_right_alone(
        self, guarded: Probe, store: Postgres, change: str, code: grpc.StatusCode
    ) -> None:
        """As by somebody at the database, or in the file of identities."""
        key = await _create(store, "loses")
        session = await _session(guarded, key)
        async with store.transaction(ALL_TENANTS) as connection:
            await connection.execute(f"UPDATE identity.api_keys SET {change}")

        async with asyncio.timeout(PATIENCE):
            found = await session.code()

        assert code == found

    async def test_is_certain_when_the_grace_is_over(
        self, private_postgres: PostgresServer
    ) -> None:
        """For streams too: nobody can tell any more whether their keys are good."""
        url = private_postgres.url
        store = identity_postgres(url, migrate=True)
        await store.start()
        key = await _create(store, "may be revoked")
        await store.close()
        async with probe_service(
            auth="api-key", auth_grace=0.0, postgres_url=url, request_log=False
        ) as probe:
            session = await _session(probe, key)
            await private_postgres.stop()
            async with asyncio.timeout(PATIENCE):
                code = await session.code()

        assert grpc.StatusCode.UNAVAILABLE == code

    async def test_refuses_calls(self, guarded: Probe, store: Postgres) -> None:
        """Of a key that was good a moment ago."""
        key = await _create(store, "leaves")
        request = cache_pb.GetRequest(namespace="call")
        await guarded.cache.Get(request, metadata=_shown(key))
        revoked = await _revoke(store, key)
        code = grpc.StatusCode.OK
        async with asyncio.timeout(PATIENCE):
            while code is grpc.StatusCode.OK:
                try:
                    await guarded.cache.Get(request, metadata=_shown(key))
                except grpc.aio.AioRpcError as error:
                    code = error.code()

        assert grpc.StatusCode.UNAUTHENTICATED == code
        assert time.monotonic() - revoked < PROMISED
