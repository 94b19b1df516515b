"""TLS to PostgreSQL, as `sslmode` in the URL asks for it.

The PostgreSQL of the tests cannot do TLS, so somebody stands before it who can.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mainstay.errors import ConfigurationError, DatabaseError
from shared.postgres.migrations import Migrations
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
PATIENCE = 10.0


def certificate_for(host: str, directory: Path) -> tuple[Path, Path]:
    """Write a certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = directory / f"{host}.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = directory / f"{host}.key"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, private


class TlsFront:
    """Does TLS for a PostgreSQL that does none.

    Attributes:
        encrypted: How many connections have passed that were.

    """

    def __init__(self, context: ssl.SSLContext, server: str) -> None:
        self._context = context
        parts = urlsplit(server)
        self._host, self._port = parts.hostname, parts.port
        self._tasks: set[asyncio.Task[None]] = set()
        self.encrypted = 0
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["TlsFront"]:
        """Listen on a free port within the block."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await self._serve(reader, writer)
        self._tasks.discard(task)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
            return  # one that does without; it is not let through
        writer.write(b"S")
        await writer.start_tls(self._context)
        self.encrypted += 1
        inner, outer = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(_pass(reader, outer), _pass(inner, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
    writer.close()


@pytest.fixture
async def front(postgres_url: str, tmp_path: Path) -> AsyncIterator[TlsFront]:
    """Stand before the test's database, with a certificate for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate_for("127.0.0.1", tmp_path))
    async with TlsFront(context, postgres_url).listening() as front:
        yield front


def through(front: TlsFront, url: str, query: str) -> str:
    """Return the URL of a database behind a front."""
    netloc = f"mainstay@127.0.0.1:{front.port}"
    return urlunsplit(urlsplit(url)._replace(netloc=netloc, query=query))


async def ask(url: str) -> int:
    """Connect as a service does, migrations included, and ask for something."""
    migrations = Migrations(service="cache", package="services.cache")
    postgres = Postgres(url, migrations=migrations)
    try:
        await postgres.start()

        async def one(connection: Connection) -> int:
            return int(await connection.fetchval("SELECT 1"))

        return await postgres.run(Tenant("acme"), one)
    finally:
        await postgres.close()


class TestTls:
    async def test_required(self, front: TlsFront, postgres_url: str) -> None:
        """Every connection is encrypted, that of the migrations too."""
        assert 1 == await ask(through(front, postgres_url, "sslmode=require"))
        assert front.encrypted >= 2

    async def test_verified(self, front: TlsFront, postgres_url: str, tmp_path: Path) -> None:
        """By a certificate that is known, for the host that was meant."""
        query = f"sslmode=verify-full&sslrootcert={tmp_path / '127.0.0.1.pem'}"

        assert 1 == await ask(through(front, postgres_url, query))

    async def test_of_somebody_else(
        self, front: TlsFront, postgres_url: str, tmp_path: Path
    ) -> None:
        """A certificate that nobody knows is refused, before anything was said."""
        other, _ = certificate_for("127.0.0.2", tmp_path)
        query = f"sslmode=verify-full&sslrootcert={other}"
        with pytest.raises(ConfigurationError, match="certificate that is not trusted"):
            await asyncio.wait_for(ask(through(front, postgres_url, query)), PATIENCE)

    async def test_that_the_server_does_not_have(self, postgres_url: str) -> None:
        """What is required is not done without."""
        url = urlunsplit(urlsplit(postgres_url)._replace(query="sslmode=require"))
        with pytest.raises(DatabaseError, match="SSL"):
            await asyncio.wait_for(ask(url), PATIENCE)
