"""A CA for development, and the certificates that it signs.

For nothing else: its key lies beside them. Whoever has that can be any server to those who trust
the CA, and any client to servers that do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Self, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key: TypeAlias = ec.EllipticCurvePrivateKey

# Clocks of machines differ.
_EARLIER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Signs certificates that begin now, which is an argument, and last for a time."""

    pair: Pair
    now: datetime
    length: timedelta

    @classmethod
    def new(cls, *, now: datetime, length: timedelta) -> Self:
        """Make a CA with a key of its own."""
        key = _new_key()
        name = _name("Mainstay development CA")
        certificate = (
            _builder(name, name, key, now, length)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(pair=Pair(certificate=certificate, key=key), now=now, length=length)

    @classmethod
    def load(cls, certificate: bytes, key: bytes, *, now: datetime, length: timedelta) -> Self:
        """Take up one that was made before; raises ValueError for what is none."""
        loaded = serialization.load_pem_private_key(key, password=None)
        signed = x509.load_pem_x509_certificate(certificate)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError("its key is none that `mainstay certs dev` makes")  # noqa: TRY004
        if loaded.public_key() != signed.public_key():
            raise ValueError("its key is another's")
        if signed.not_valid_after_utc <= now:
            raise ValueError("it has expired")
        return cls(pair=Pair(certificate=signed, key=loaded), now=now, length=length)

    def signed(self, certificate: bytes) -> bool:
        """Return whether it is of this CA, and not somebody's who uses the same directory."""
        try:
            x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(
                self.pair.certificate
            )
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def server(self, hosts: Sequence[str]) -> Pair:
        """Return what a service shows under any of the hosts, also to others as their client."""
        usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue(hosts[0], _alternatives(hosts), usages)

    def client(self, name: str) -> Pair:
        """Return what a client shows; `name` is its SAN, which MAINSTAY_AUTH_IDENTITIES names."""
        return self._issue(name, [x509.DNSName(name)], (ExtendedKeyUsageOID.CLIENT_AUTH,))

    def _issue(
        self,
        common_name: str,
        alternatives: Iterable[x509.GeneralName],
        usages: Iterable[x509.ObjectIdentifier],
    ) -> Pair:
        key, issuer = _new_key(), self.pair
        ends = min(self.now + self.length, issuer.certificate.not_valid_after_utc)
        certificate = (
            _builder(_name(common_name), issuer.certificate.subject, key, self.now, ends - self.now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
                critical=False,
            )
            .sign(issuer.key, hashes.SHA256())
        )
        return Pair(certificate=certificate, key=key)


def _new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    # 64 characters is the most that X.509 allows there; clients look at the SANs anyway.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, now: datetime, length: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + length)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(hosts: Iterable[str]) -> list[x509.GeneralName]:
    return [_alternative(host) for host in dict.fromkeys(hosts)]


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
