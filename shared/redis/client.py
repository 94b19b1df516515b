"""The Redis client of a process."""

import asyncio
import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from mainstay.errors import ConfigurationError, UnavailableError
from shared.redis.link import Argument, LinkConnection, NoScriptError, RedisLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A Lua script and its digest."""

    text: str
    sha: str

    @classmethod
    def load(cls, package: str, name: str) -> Self:
        """Read a script that lies in a package, such as `lua/sliding_window.lua`."""
        text = files(package).joinpath(name).read_text(encoding="utf-8")
        return cls(text=text, sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Redis:
    """A resource: commands of concurrent callers share one connection (see `shared.redis.link`).

    Every command is answered within `timeout` seconds (longer while large replies are still coming
    in, at most eight times that) or fails with `UnavailableError`, reason
    `REDIS_TIMEOUT`, `REDIS_UNAVAILABLE`, `REDIS_BREAKER_OPEN`, `REDIS_QUEUE_FULL`, `REDIS_REFUSED`
    or `REDIS_FULL`. After the first two it is not known whether it was carried out; after the
    others it was not.
    """

    name = "redis"

    def __init__(self, url: str, *, timeout: float = 0.25) -> None:
        self._link = RedisLink(
            _connection(url, timeout), timeout=timeout, address=_without_secrets(url)
        )

    async def start(self) -> None:
        """Connect; raises UnavailableError while Redis cannot be reached."""
        await self._link.start()

    async def close(self) -> None:
        """Disconnect; what waits fails."""
        await self._link.close()

    @property
    def connected(self) -> bool:
        """Return whether commands have a chance now."""
        return self._link.connected

    async def ping(self) -> float:
        """Return the seconds that one round trip takes."""
        began = time.perf_counter()
        await self.execute("PING")
        return time.perf_counter() - began

    async def execute(self, *args: Argument) -> Any:
        """Run one command and return its reply, strings as bytes."""
        return await self._link.send(args)

    async def execute_many(self, commands: Iterable[tuple[Argument, ...]]) -> list[Any]:
        """Run commands that do not depend on each other; returns a reply or an error for each."""
        replies = [self._send_or_fail(command) for command in commands]
        return await asyncio.gather(*replies, return_exceptions=True)

    def _send_or_fail(self, command: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        try:
            return self._link.send(command)
        except UnavailableError as error:
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def run_script(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument]
    ) -> Any:
        """Run a script by its digest, or by its text where Redis does not know it."""
        try:
            return await self._link.send(("EVALSHA", script.sha, len(keys), *keys, *args))
        except NoScriptError:
            return await self._link.send(("EVAL", script.text, len(keys), *keys, *args))


def _connection(url: str, timeout: float) -> LinkConnection:
    try:
        options: dict[str, Any] = dict(parse_url(url))
        kind = options.pop("connection_class", Connection)
        connection: LinkConnection = type("RedisConnection", (LinkConnection, kind), {})(
            **options,
            socket_connect_timeout=max(timeout * 4, 1.0),
            socket_timeout=None,
            client_name="mainstay",
            # Reconnecting is the link's business; hidden retries would hold up its callers.
            retry=Retry(NoBackoff(), 0),
        )
    except (TypeError, ValueError) as error:
        # Their texts quote parts of the URL, and a part may be a password.
        raise ConfigurationError(
            "MAINSTAY_REDIS_URL is not a Redis URL; write redis://user:password@host:6379/0, with "
            "%-escapes for characters of the password that have a meaning in URLs"
        ) from error
    return connection


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
