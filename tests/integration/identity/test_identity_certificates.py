"""Client certificates over real TLS: who has one, whose it is, and what a header says beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from mainstay.errors import MainstayError
from shared.identity.authenticator import Authenticator
from shared.identity.mtls import CertificateIdentities
from shared.identity.service_keys import ServiceKeys
from tests.integration.identity.issuer import Authority

SERVICE_KEY = "s" * 32
IDENTITIES = """\
identities:
  - uri: spiffe://example.org/billing
    name: billing
    tenant: acme
    scopes: [cache:read]
  - dns: ops.example.org
    name: ops
    tenant: "*"
    scopes: ["*"]
  - common_name: old-client
    name: old
    tenant: acme
    scopes: [cache:read]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A server that tells its callers who they are."""

    authority: Authority
    port: int

    async def ask(self, certificate: tuple[bytes, bytes] | None, *metadata: tuple[str, str]) -> str:
        """Return whose a certificate is, or why it is nobody's."""
        pem, key = certificate or (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.pem, key, pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials) as channel:
            call: Any = channel.unary_unary("/test.Door/Ask")
            answer: bytes = await call(b"", metadata=metadata, timeout=10)
        return answer.decode()


@asynccontextmanager
async def open_door(
    authority: Authority, gate: Authenticator, *, asks_for_certificates: bool = True
) -> AsyncIterator[Door]:
    """Serve with TLS; certificates of clients are checked where they are asked for."""

    async def answer(_request: bytes, context: Any) -> bytes:
        header = dict(context.invocation_metadata()).get("authorization", "")
        try:
            found = gate.known(header, context) or await gate.find(header, context)
        except MainstayError as error:
            return error.reason.encode()
        return f"{found.name} {found.tenant} {found.proof}".encode()

    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Door", {"Ask": handler}),)
    )
    certificate, key = authority.issue("server")
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], authority.pem, require_client_auth=asks_for_certificates
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield Door(authority=authority, port=port)
    finally:
        await server.stop(0)


@pytest.fixture
def gate(tmp_path: Path) -> Authenticator:
    """Know three certificates and a service key."""
    path = tmp_path / "identities.yaml"
    path.write_text(IDENTITIES)
    return Authenticator(
        services=ServiceKeys([SERVICE_KEY]), certificates=CertificateIdentities(path)
    )


@pytest.fixture
async def door(gate: Authenticator) -> AsyncIterator[Door]:
    """Provide a server."""
    async with open_door(Authority.make(), gate) as door:
        yield door


class TestACertificate:
    async def test_is_the_principal_that_the_file_says(self, door: Door) -> None:
        """By URI, by DNS name, by common name."""
        issue = door.authority.issue
        certificates = [
            issue("x", uris=("spiffe://example.org/billing",)),
            issue("x", dns=("ops.example.org",)),
            issue("old-client"),
        ]
        answers = [await door.ask(certificate) for certificate in certificates]

        assert ["billing acme mtls", "ops * mtls", "old acme mtls"] == answers

    async def test_that_is_not_listed_is_nobodys(self, door: Door) -> None:
        """Though a CA that we trust has signed it."""
        issue = door.authority.issue
        certificates = [
            issue("x", uris=("spiffe://example.org/others",)),
            issue("spiffe://example.org/billing"),
            issue("ops.example.org", dns=("old-client",)),
        ]
        answers = [await door.ask(certificate) for certificate in certificates]

        assert ["CREDENTIALS_INVALID"] * 3 == answers

    async def test_that_is_missing_is_told_from_one_that_is_wrong(
        self, gate: Authenticator
    ) -> None:
        """As far as a caller can see by itself."""
        async with open_door(Authority.make(), gate, asks_for_certificates=False) as door:
            answer = await door.ask(None)

        assert "CREDENTIALS_MISSING" == answer

    async def test_of_another_authority_does_not_get_in(self, door: Door) -> None:
        """TLS ends the connection, whatever names it has."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.ask(Authority.make().issue("old-client"))

        assert grpc.StatusCode.UNAVAILABLE == caught.value.code()

    async def test_does_not_make_good_a_header_that_is_wrong(self, door: Door) -> None:
        """Who sends a header is judged by it alone."""
        certificate = door.authority.issue("old-client")
        answers = [
            await door.ask(certificate, ("authorization", header))
            for header in ("Bearer x", "Basic eDp5", f"Bearer {SERVICE_KEY}")
        ]

        assert ["CREDENTIALS_INVALID", "CREDENTIALS_INVALID", "mainstay * service"] == answers
