"""Where a Redis is, and how a connection to it comes about.

redis-py reads the URL, connects, speaks TLS and authenticates; then the transport is ours.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from redis import exceptions
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from mainstay.errors import ConfigurationError
from shared.redis import tls
from shared.redis.errors import unavailable
from shared.redis.seeds import seed_urls
from shared.redis.wire import Wire


class HandedOver(AbstractConnection):
    """Adds to a connection of redis-py what gives its transport away.

    A mixin over the kinds of connection that redis-py has (TCP, TLS, socket file).
    """

    certificates: tls.Ages = ()

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
        """Let another protocol read; the handshake is over and nothing is on its way."""
        assert self._writer is not None, "only what is connected is handed over"
        transport = self._writer.transport
        transport.set_protocol(protocol)
        return transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One server, with the credentials and options of the URL that named it."""

    kind: type[AbstractConnection]
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read one URL; raises ConfigurationError that quotes no part of it."""
        try:
            options: dict[str, Any] = dict(parse_url(url))
            kind = options.pop("connection_class", Connection)
            endpoint = cls(kind=kind, options=options)
            endpoint.connection(timeout=1.0)  # finds options that it does not know
        except (TypeError, ValueError) as error:
            # Their texts quote parts of the URL, and a part may be a password.
            raise ConfigurationError(
                "MAINSTAY_REDIS_URL is not a Redis URL; write redis://user:password@host:6379/0, "
                "with %-escapes for characters of the password that have a meaning in URLs"
            ) from error
        return endpoint

    @classmethod
    def parse_all(cls, setting: str) -> tuple[Self, ...]:
        """Read one URL, or several of one cluster that are separated by commas."""
        return tuple(cls.parse(url) for url in seed_urls(setting))

    @property
    def host(self) -> str:
        """Return where a node is that names no host for itself: where it was asked."""
        return str(self.options.get("host", "localhost"))

    @property
    def address(self) -> str:
        """Return what may be shown: host and port, or the path of a socket file."""
        path = self.options.get("path")
        return str(path) if path else f"{self.host}:{self.options.get('port', 6379)}"

    def at(self, host: str, port: int) -> Self:
        """Return another node that takes the same credentials and options."""
        options = {key: value for key, value in self.options.items() if key != "path"}
        kind = Connection if "path" in self.options else self.kind
        return type(self)(kind=kind, options={**options, "host": host, "port": port})

    def speaking_resp3(self) -> Self:
        """Return the same with the protocol in which a subscriber may send any command."""
        return type(self)(kind=self.kind, options={**self.options, "protocol": 3})

    def connection(self, *, timeout: float) -> HandedOver:
        """Return a connection that is not yet open."""
        connection: HandedOver = type("RedisConnection", (HandedOver, self.kind), {})(
            **{
                **self.options,
                "socket_connect_timeout": max(timeout * 4, 1.0),
                "socket_timeout": None,
                "client_name": "mainstay",
                # Reconnecting is not its business; hidden retries would hold up callers.
                "retry": Retry(NoBackoff(), 0),
            }
        )
        return connection


async def establish(
    connection: HandedOver,
    wire: Wire,
    *,
    address: str,
    timeout: float,  # noqa: ASYNC109
) -> None:
    """Connect and let the wire take over; raises why that cannot be.

    `timeout` is that of a command; connecting takes at most four of it, or a second.
    """
    try:
        async with asyncio.timeout(max(timeout * 4, 1.0)):
            connection.certificates = tls.forget_changed_files(connection, connection.certificates)
            await connection.connect()  # type: ignore[no-untyped-call]
            # A stopped Redis still accepts connections: only an answer counts. That it comes by the
            # wire shows also that nothing was lost when reading changed hands.
            await wire.begin(connection.hand_over(wire))
    except exceptions.AuthenticationError as error:
        await abandon(connection, wire)
        raise ConfigurationError(
            f"Redis at {address} refused the credentials of MAINSTAY_REDIS_URL: {error}"
        ) from error
    except Exception as error:
        # Of any kind: what listens there may be no Redis, and redis-py stumbles over its answers.
        await abandon(connection, wire)
        if wrong := tls.what_is_wrong(connection, error):
            raise ConfigurationError(f"Redis at {address} {wrong}") from error
        why = str(error) or "no answer"
        raise unavailable(address, "REDIS_UNAVAILABLE", why, retry_after=timeout) from error
    except asyncio.CancelledError:
        await abandon(connection, wire)
        raise


async def abandon(
    connection: HandedOver, wire: Wire, *, why: str = "the connection was given up"
) -> None:
    """Close a connection without waiting for its peer; what waits is told why."""
    wire.end(ConnectionError(why))
    await connection.disconnect(nowait=True)
