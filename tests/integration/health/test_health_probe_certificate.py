"""The probe of certificates, in files and at a real TLS endpoint."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.health.probe_certificate import CertificateProbe, Read, of_endpoint, of_file
from tests.integration.health.asking import answer, complaint
from tests.integration.health.targets import SilentListener, unused_address

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


def pem(left: timedelta, *, begins: datetime = NOW - 90 * DAY) -> bytes:
    """Return a certificate that expires so long after now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secret.internal")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(NOW + left)
        .sign(KEY, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def put(file: Path, content: bytes) -> None:
    """Write what is to be read."""
    file.write_bytes(content)


class Clock:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)


def make_probe(read: Read, clock: Clock | None = None) -> CertificateProbe:
    """Return a probe that warns three weeks before the end."""
    clock = clock or Clock()
    return CertificateProbe(read, warn_within=21 * DAY, monotonic=clock.monotonic, wall=clock.wall)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the certificate is to be."""
    return tmp_path / "secret.pem"


class TestExpiry:
    @pytest.mark.parametrize(
        ("left", "expected"),
        [
            (22 * DAY, ""),
            (21 * DAY, "Expires in 21 days."),
            (1.5 * DAY, "Expires in 1 day."),
            (timedelta(hours=5.5), "Expires in 5 hours."),
            (timedelta(minutes=5), "Expires in less than an hour."),
        ],
    )
    async def test_soon(self, file: Path, left: timedelta, expected: str) -> None:
        """It needs care; what it is called stays private."""
        put(file, pem(left))

        assert expected == await answer(make_probe(of_file(file)))

    @pytest.mark.parametrize(
        ("certificate", "expected"),
        [
            (pem(timedelta()), "Expired less than an hour ago."),
            (pem(-3 * DAY), "Expired 3 days ago."),
            (pem(90 * DAY, begins=NOW + DAY), "Is not valid yet."),
        ],
    )
    async def test_not_valid(self, file: Path, certificate: bytes, expected: str) -> None:
        """Nobody will accept it."""
        put(file, certificate)

        assert expected == await complaint(make_probe(of_file(file)))

    async def test_the_first_to_end_counts(self, file: Path) -> None:
        """Of a chain, and with a key in between."""
        put(file, pem(90 * DAY) + PRIVATE + pem(7 * DAY))

        assert "Expires in 7 days." == await answer(make_probe(of_file(file)))


class TestFile:
    async def test_it_is_read_again_after_a_minute(self, file: Path) -> None:
        """Until then what was read is judged by the clock."""
        clock = Clock()
        probe = make_probe(of_file(file), clock)
        put(file, pem(90 * DAY))
        told = [await answer(probe)]
        put(file, pem(7 * DAY))
        for clock.passed in (59.0, 60.0):
            told.append(await answer(probe))

        assert ["", "", "Expires in 6 days."] == told

    async def test_one_that_expired_is_looked_for_at_once(self, file: Path) -> None:
        """Its successor may be there already."""
        clock = Clock()
        probe = make_probe(of_file(file), clock)
        put(file, pem(timedelta(seconds=5)))
        first = await answer(probe)
        clock.passed = 10.0
        expired = await complaint(probe)
        put(file, pem(90 * DAY))

        assert ("Expires in less than an hour.", "") == (first, await answer(probe))
        assert "Expired less than an hour ago." == expired

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (None, "Cannot be read."),
            (b"", "Is no certificate that can be read."),
            (PRIVATE, "Is no certificate that can be read."),
            (
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "Is no certificate that can be read.",
            ),
        ],
    )
    async def test_what_is_none(self, file: Path, content: bytes | None, expected: str) -> None:
        """Missing, empty, something else, broken."""
        if content is not None:
            put(file, content)

        assert expected == await complaint(make_probe(of_file(file)))


@asynccontextmanager
async def endpoint(directory: Path, certificate: bytes) -> AsyncIterator[int]:
    """Serve TLS on a free port, with nothing behind it."""
    path = directory / "endpoint.pem"
    path.write_bytes(certificate + PRIVATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


class TestEndpoint:
    async def test_what_it_shows(self, tmp_path: Path) -> None:
        """Its certificate is of no authority and for another host: when it ends is the question."""
        async with endpoint(tmp_path, pem(7 * DAY)) as port:
            told = await answer(make_probe(of_endpoint("127.0.0.1", port)))

        assert told == "Expires in 7 days."

    async def test_one_that_has_expired(self, tmp_path: Path) -> None:
        """It is read although it is not valid."""
        async with endpoint(tmp_path, pem(-3 * DAY)) as port:
            message = await complaint(make_probe(of_endpoint("127.0.0.1", port)))

        assert message == "Expired 3 days ago."

    async def test_nobody_listens(self) -> None:
        """As any other target that is gone."""
        host, _, port = unused_address().partition(":")
        message = await complaint(make_probe(of_endpoint(host, int(port))))

        assert message == "Refused or closed the connection."

    async def test_no_tls(self) -> None:
        """What listens there speaks something else."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            message = await complaint(make_probe(of_endpoint("127.0.0.1", port)))

        assert message == "Does not agree on TLS."

    async def test_silence_is_left(self) -> None:
        """The prober gives up, and the connection goes with it."""
        async with SilentListener() as silent:
            asking = asyncio.create_task(
                make_probe(of_endpoint("127.0.0.1", silent.port)).ask("request-1")
            )
            await asyncio.wait_for(silent.connected.wait(), 10)
            asking.cancel()
            await asyncio.wait([asking], timeout=10)

            assert asking.cancelled()
            await asyncio.wait_for(silent.left.wait(), 10)
