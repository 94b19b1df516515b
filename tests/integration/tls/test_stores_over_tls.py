"""Our clients of Redis and PostgreSQL, over TLS and with certificates of their own."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from structlog.testing import capture_logs

from cli.embedded.redis import redis_executable
from mainstay.errors import ConfigurationError, MainstayError
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Connection, Postgres
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.integration.tls.certificates import Certificates
from tests.integration.tls.stores import TlsPostgres, TlsRedis, use_postgres_with_tls

SLOTS = 16384
PATIENCE = 20.0


@pytest.fixture(scope="module")
def module_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a place for the servers of this module, and for all certificates."""
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def certificates(module_directory: Path) -> Certificates:
    """Make the CA that everybody trusts."""
    return Certificates(module_directory / "certificates")


@pytest.fixture(scope="module")
def redis_with_tls(module_directory: Path) -> None:
    """Skip where the Redis that is here was built without."""
    nowhere = [str(redis_executable()), "--port", "0", "--tls-port", "0"]
    # It ends at once, since it is to listen nowhere; or because it does not know the option.
    said = subprocess.run(
        nowhere, capture_output=True, text=True, check=False, timeout=10, cwd=module_directory
    )
    if "Bad directive" in said.stdout + said.stderr:
        pytest.skip(f"{nowhere[0]} is built without TLS")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis_server(
    redis_with_tls: None, module_directory: Path, certificates: Certificates
) -> AsyncIterator[TlsRedis]:
    """Start a Redis that wants certificates."""
    server = TlsRedis(module_directory / "redis", certificates.server(), certificates.ca)
    async with server:
        yield server


@pytest.fixture
async def cluster(
    redis_with_tls: None, tmp_path: Path, certificates: Certificates
) -> AsyncIterator[TlsRedis]:
    """Start a cluster of one node that wants certificates."""
    server = TlsRedis(tmp_path / "cluster", certificates.server(), certificates.ca, cluster=True)
    async with server, redis.asyncio.Redis(port=server.port) as plain:
        await plain.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)  # type: ignore[no-untyped-call]

        async def is_whole() -> bool:
            facts = await plain.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
            return b"cluster_state:ok" in facts if isinstance(facts, bytes) else "ok" in str(facts)

        await eventually(is_whole)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_server(
    module_directory: Path, certificates: Certificates
) -> AsyncIterator[TlsPostgres]:
    """Start a PostgreSQL that wants certificates."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_postgres_with_tls(monkeypatch)
        place = module_directory / "postgres"
        async with TlsPostgres(place, certificates.server(), certificates.ca) as server:
            yield server


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for other processes and tasks, of which nothing could wake the test."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def redis_options(certificates: Certificates, **more: Any) -> dict[str, object]:
    own = certificates.client()
    return {
        "ssl_ca_certs": certificates.ca,
        "ssl_certfile": own.certificate,
        "ssl_keyfile": own.key,
        **more,
    }


def postgres_options(certificates: Certificates, **more: Any) -> dict[str, object]:
    own = certificates.client()
    return {
        "sslmode": "verify-full",
        "sslrootcert": certificates.ca,
        "sslcert": own.certificate,
        "sslkey": own.key,
        **more,
    }


async def roundtrip(url: str) -> list[bytes]:
    """Connect as services do, and write and read what fills many TLS records."""
    client = Redis(url)
    try:
        await client.start()
        value = b"x" * 100_000
        await asyncio.gather(*(client.execute("SET", f"key-{n}", value) for n in range(20)))
        found = await asyncio.gather(*(client.execute("GET", f"key-{n}") for n in range(20)))
        return [each for each in found if each == value]
    finally:
        await client.close()


class TestRedis:
    async def test_answers_over_tls(
        self, redis_server: TlsRedis, certificates: Certificates
    ) -> None:
        """To a client with a certificate, who knows whose the server's is."""
        url = redis_server.tls_url(redis_options(certificates))

        assert 20 == len(await roundtrip(url))

    async def test_answers_over_tls_as_a_cluster(
        self, cluster: TlsRedis, certificates: Certificates
    ) -> None:
        """The nodes that it names are called so too."""
        url = cluster.tls_url(redis_options(certificates))

        assert 20 == len(await roundtrip(url))

    async def test_takes_a_renewed_certificate_when_it_connects_again(
        self, redis_server: TlsRedis, certificates: Certificates, others: Certificates
    ) -> None:
        """Nobody has to restart the service for that."""
        options = redis_options(certificates)
        own = certificates.client()
        client = Redis(redis_server.tls_url(options), timeout=1.0)
        await client.start()
        foreign = others.client()
        own.certificate.write_bytes(foreign.certificate.read_bytes())
        own.key.write_bytes(foreign.key.read_bytes())
        with capture_logs() as lines:

            async def is_refused() -> bool:
                return "redis_reconnecting" in [line["event"] for line in lines]

            await _hang_up(redis_server)
            await eventually(is_refused)
        certificates.client()
        await eventually(lambda: _answers(client))
        await client.close()

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"ssl_ca_certs": "OTHER"}, "not trusted .*check ssl_ca_certs"),
            ({"ssl_ca_certs": "/nowhere/ca.pem"}, "ssl_ca_certs, .* cannot be read"),
            ({"ssl_keyfile": "OTHER"}, "ssl_keyfile .* cannot be used"),
        ],
    )
    async def test_that_cannot_be_asked(
        self,
        redis_server: TlsRedis,
        certificates: Certificates,
        others: Certificates,
        wrong: Mapping[str, str],
        told: str,
    ) -> None:
        """The error names the setting and its option, and is none that waiting heals."""
        foreign = {"ssl_ca_certs": others.ca, "ssl_keyfile": others.client().key}
        given = {name: foreign[name] if how == "OTHER" else how for name, how in wrong.items()}
        url = redis_server.tls_url(redis_options(certificates, **given))
        with pytest.raises(ConfigurationError, match=told) as refused:
            await roundtrip(url)

        assert "MAINSTAY_REDIS_URL" in refused.value.message


class TestPostgres:
    async def test_answers_over_tls(
        self, postgres_server: TlsPostgres, certificates: Certificates
    ) -> None:
        """To a client with a certificate; migrations go that way too."""
        migrations = Migrations(service="cache", package="services.cache")
        url = postgres_server.tls_url(postgres_options(certificates))
        pool = Postgres(url, migrations=migrations)
        await pool.start()

        async def look(connection: Connection) -> str:
            query = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            row = await connection.fetchrow(query)
            return str(row["version"]) if row["ssl"] else "plaintext"

        spoken = await pool.run(Tenant("acme"), look)
        await pool.close()

        assert "TLSv1.3" == spoken

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"sslrootcert": "OTHER"}, "not trusted .*sslrootcert .*MAINSTAY_POSTGRES_URL"),
            ({"sslrootcert": "/nowhere/ca.pem"}, "sslrootcert .*MAINSTAY_POSTGRES_URL cannot be"),
            ({"sslkey": "OTHER"}, "sslkey in MAINSTAY_POSTGRES_URL cannot be used"),
            ({"sslcert": "", "sslkey": ""}, "refused MAINSTAY_POSTGRES_URL: .*certificate"),
        ],
    )
    async def test_that_cannot_be_asked(
        self,
        postgres_server: TlsPostgres,
        certificates: Certificates,
        others: Certificates,
        wrong: Mapping[str, str],
        told: str,
    ) -> None:
        """The error names the setting and its option, and is none that waiting heals."""
        foreign = {"sslrootcert": others.ca, "sslkey": others.client().key}
        given = {name: foreign[name] if how == "OTHER" else how for name, how in wrong.items()}
        options = {**postgres_options(certificates), **given}
        pool = Postgres(postgres_server.tls_url({k: v for k, v in options.items() if v}))
        with pytest.raises(ConfigurationError, match=told):
            await pool.start()


async def _hang_up(server: TlsRedis) -> None:
    """Break every connection but the one that asks for it."""
    plain = Redis(server.url)
    await plain.start()
    await plain.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await plain.close()


async def _answers(client: Redis) -> bool:
    try:
        await client.ping()
    except MainstayError:
        return False
    return True
