"""Where the replicas of a service are, as configured: `10.0.0.7:50051,cache.internal:50051`."""

from dataclasses import dataclass, field
from ipaddress import ip_address

MAX_REPLICAS = 256
"""Replicas of one service that are probed."""

_DNS = "dns:"
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host, which may be a name for many, and a port.

    Attributes:
        host: A name, or an address of the network.
        port: From 1 to 65,535.
        found_by: The name that this was found behind; empty for one that was given as it is.

    """

    host: str
    port: int
    found_by: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_name(self) -> bool:
        """Whether it has to be looked up."""
        try:
            ip_address(self.host.partition("%")[0])
        except ValueError:
            return True
        return False


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Return the addresses that a text lists, each once; raises ValueError where it has a mistake.

    `dns:` before a name is allowed and changes nothing: every name is looked up.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("names no address; write host:port, several separated by commas")
    addresses = tuple(dict.fromkeys(map(parse_address, parts)))
    if len(addresses) > MAX_REPLICAS:
        raise ValueError(f"lists {len(addresses)} addresses; up to {MAX_REPLICAS} are probed")
    return addresses


def parse_address(text: str) -> Address:
    """Return the address that a text is; raises ValueError."""
    host, colon, port = text.removeprefix(_DNS).lstrip("/").rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    numbered = port.isdecimal() and 0 < int(port) <= _LAST_PORT
    if not (colon and host and numbered) or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is no address; write host:port, or [::1]:port")
    return Address(host, int(port))
