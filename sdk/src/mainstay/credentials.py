"""How a client proves who it is, and how it knows whom it talks to.

::

    credentials = Credentials(
        "msk_...",
        tls=Tls(ca=Path("ca.pem")),
    )
    async with Mainstay(cache="cache.example.com:50051", credentials=credentials) as mainstay:
        ...
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from mainstay.errors import ConfigurationError

Token: TypeAlias = str | Callable[[], str]

_FILE_SCHEMES = ("unix:", "unix-abstract:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Speak TLS, of version 1.2 or later, with a server whose certificate is checked.

    All files are PEM. They are read again when they change: the calls that follow go over a new
    connection, those under way end on the old one. Files that do not make sense, such as a key
    that is not the certificate's, are not taken, and what was read before stays in use.

    Attributes:
        ca: The CAs that the server's certificate is checked against; None for the system's.
        certificate: This client's certificate and the chain to its CA, for servers that want one.
        key: The certificate's private key, not encrypted.
        server_name: The name that the server's certificate is for, where it is called by another.

    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a certificate without its key, a key alone, or no path."""
        for name in ("ca", "certificate", "key"):
            if not isinstance(getattr(self, name), Path | None):
                raise ConfigurationError(f"Tls({name}=...) takes a pathlib.Path")
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError(
                "Tls(certificate=...) and Tls(key=...) go together; give both or none"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a client shows to services, and what it wants to see of them.

    Attributes:
        token: An API key or a JSON Web Token, which goes with every call. A function is asked with
            every call, so that a token can be renewed: it must return at once what it has, without
            waiting for anything, and renew in the background. It may be asked by several threads.
        tls: How to speak TLS; None for plaintext.
        plaintext: That a token may travel without TLS beyond this machine, because something else
            encrypts, such as a mesh.

    """

    token: Token | None = field(default=None, repr=False, kw_only=False)
    tls: Tls | None = None
    plaintext: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a token that cannot be sent; it is not quoted."""
        if isinstance(self.token, str):
            _check(self.token)

    def authorization(self) -> str | None:
        """Return the header of a call made now; raises what the token's function raises.

        Raises ConfigurationError for a token that cannot be sent.
        """
        if self.token is None:
            return None
        if isinstance(self.token, str):
            return f"Bearer {self.token}"
        token = self.token()
        _check(token)
        return f"Bearer {token}"

    def check(self, target: str) -> None:
        """Raise ConfigurationError for a target to which the token would travel in the clear."""
        if self.token is None or self.tls is not None or self.plaintext or is_local(target):
            return
        raise ConfigurationError(
            f"the token would travel to {target} for everybody between to read; use "
            "Credentials(..., tls=Tls()), or plaintext=True where something else encrypts"
        )


NO_CREDENTIALS = Credentials()


def is_local(target: str) -> bool:
    """Return whether what is sent to a target of gRPC stays on this machine."""
    if target.startswith(_FILE_SCHEMES):
        return True
    kind, _, rest = target.partition(":")
    if kind in {"ipv4", "ipv6"}:
        return all(_is_loopback(_host(each)) for each in rest.split(","))
    # Not `dns://server/localhost`: it is for that server to say where this is.
    return _is_loopback(_host(target.removeprefix("dns:").removeprefix("///")))


def _host(address: str) -> str:
    """Return an address without its port; one of IPv6 stands in brackets, or has no port."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(token: object) -> None:
    # `isascii` first: what is printable then is what HTTP/2 takes in a header.
    if not (isinstance(token, str) and token.isascii() and token.isprintable() and token.strip()):
        raise ConfigurationError(
            "the token of Credentials should be printable ASCII characters; what was given is not "
            "shown here, since it may be a secret"
        )
