"""An issuer of tokens: its keys, what it signs with them, and where it serves them."""

import asyncio
import base64
import gzip
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import get_default_algorithms

ISSUER, AUDIENCE = "https://issuer.example.org/", "mainstay"

Claims = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of the issuer."""

    kid: str
    algorithm: str
    private: Any

    @property
    def published(self) -> Claims:
        """Return what the issuer publishes of it."""
        algorithm = get_default_algorithms()[self.algorithm]
        shown = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        shown.pop("key_ops", None)
        return {**shown, "kid": self.kid, "use": "sig"}

    @property
    def leaked(self) -> Claims:
        """Return what the issuer must not publish: how to sign, too."""
        algorithm = get_default_algorithms()[self.algorithm]
        secret = algorithm.to_jwk(self.private, as_dict=True)
        return {**self.published, "d": secret["d"]}

    def sign_under(self, header: Claims, body: Claims) -> str:
        """Return a token with a header that the library would not write."""
        unsigned = raw_token(header, body, b"").rstrip(".")
        algorithm = get_default_algorithms()[self.algorithm]
        return raw_token(header, body, algorithm.sign(unsigned.encode(), self.private))

    def sign(self, claims: Claims, **header: Any) -> str:
        """Return a token."""
        headers = {"kid": self.kid, **header}
        return jwt.encode(claims, self.private, self.algorithm, headers=headers)


def rsa_key(kid: str = "rsa", *, algorithm: str = "RS256", bits: int = 2_048) -> Key:
    """Make an RSA key."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=bits)
    return Key(kid=kid, algorithm=algorithm, private=private)


def ec_key(kid: str = "ec") -> Key:
    """Make a key of elliptic curves, in no time."""
    return Key(kid=kid, algorithm="ES256", private=ec.generate_private_key(ec.SECP256R1()))


def ed_key(kid: str = "ed") -> Key:
    """Make an Ed25519 key."""
    return Key(kid=kid, algorithm="EdDSA", private=ed25519.Ed25519PrivateKey.generate())


def claims(**changes: Any) -> Claims:
    """Return claims that are accepted but for the changes; None takes one away."""
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": now + 3_600,
        "nbf": now - 10,
        "tenant": "acme",
        "scope": "cache:read jobs:*",
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def jwks_of(*keys: Key) -> str:
    """Return the document with these keys."""
    return json.dumps({"keys": [key.published for key in keys]})


def raw_token(header: Claims, body: Claims, signature: bytes) -> str:
    """Return a token that no library would make."""
    parts = [json.dumps(header).encode(), json.dumps(body).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@dataclass(slots=True, kw_only=True)
class JwksServer:
    """Serves a document to whoever asks for it, in whatever way the test wants.

    Attributes:
        url: Where.
        text: The document.
        status: Of its answers.
        headers: Of its answers, more than the usual.
        compressed: Whether it compresses, though nobody accepts that.
        silent: Whether it accepts connections and says nothing.
        fetches: How often it was asked.

    """

    url: str
    text: str
    status: str = "200 OK"
    headers: str = ""
    compressed: bool = False
    silent: bool = False
    fetches: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self.writers.add(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.fetches += 1
            if self.silent:
                await reader.read()
                return
            body = self.text.encode()
            headers = self.headers
            if self.compressed:
                body, headers = gzip.compress(body), f"{headers}content-encoding: gzip\r\n"
            head = f"HTTP/1.1 {self.status}\r\n{headers}content-length: {len(body)}\r\n"
            writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.writers.discard(writer)


@asynccontextmanager
async def serving(
    text: str, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[JwksServer]:
    """Serve a document over HTTPS, or over HTTP without a certificate."""
    jwks = JwksServer(url="", text=text)
    server = await asyncio.start_server(jwks.answer, "127.0.0.1", port, ssl=tls)
    scheme = "http" if tls is None else "https"
    jwks.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    try:
        yield jwks
    finally:
        server.close()
        for writer in jwks.writers:
            writer.transport.abort()
        await server.wait_closed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A CA, and what it signs."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> "Authority":
        """Make one for an hour."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("test ca")
        built = (
            _certificate(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        return cls(key=key, certificate=built.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> bytes:
        """Return its certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, common_name: str, *, uris: tuple[str, ...] = (), dns: tuple[str, ...] = ()
    ) -> tuple[bytes, bytes]:
        """Return the certificate and the key of somebody, also good for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.IPAddress(ip_address("127.0.0.1")),
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.DNSName, dns),
        ]
        built = (
            _certificate(_name(common_name), self.certificate.subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        certificate = built.sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def server_tls(self, directory: Path) -> ssl.SSLContext:
        """Return what a server of 127.0.0.1 needs."""
        certificate, key = self.issue("server")
        (directory / "server.pem").write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.pem")
        return context

    def trust(self) -> ssl.SSLContext:
        """Return what a client needs to trust it."""
        return ssl.create_default_context(cadata=self.pem.decode())


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(subject: x509.Name, issuer: x509.Name, public_key: Any) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
    )
