"""The Redis client of a process."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import PurePath
from typing import Any, Protocol, Self

from mainstay.errors import ConfigurationError, UnavailableError
from shared.redis.cluster import RedisCluster
from shared.redis.endpoint import Endpoint
from shared.redis.errors import NoScriptError, RedisReplyError, unavailable
from shared.redis.link import RedisLink
from shared.redis.wire import Argument, Wire
from shared.telemetry import metrics, tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A Lua script and its digest.

    `older` is what a Redis before 7 gets, which knows no flags (`#!lua flags=...`): the same script
    without them. There it cannot do what the flags allow.
    """

    text: str
    sha: str
    older: "Script | None" = None

    @classmethod
    def load(cls, package: str, *names: str) -> Self:
        """Read a script that lies in a package, such as `lua/sliding_window.lua`.

        Of several names the first ones are what several scripts begin with.
        """
        parts = (files(package).joinpath(name).read_text(encoding="utf-8") for name in names)
        script = cls.of("".join(parts))
        for digest in (script.sha, script.older.sha if script.older else script.sha):
            _script_names[digest] = PurePath(names[-1]).stem
        return script

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the script with this text."""
        flags, _, rest = text.partition("\n")
        return cls(
            text=text,
            sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
            # The line stays, as a comment, so that Redis's messages name the right ones.
            older=cls.of(f"-- {flags}\n{rest}") if flags.startswith("#!") else None,
        )


_script_names: dict[str, str] = {}
"""What scripts are called, by their digests."""

OLD_VERSIONS = (b"5.", b"6.")
"""Of Redis, in which scripts have no flags."""


class Route(Protocol):
    """What brings commands to where they belong: one link, or those of a cluster."""

    @property
    def connected(self) -> bool: ...

    async def close(self) -> None: ...

    def send(self, args: tuple[Argument, ...]) -> "asyncio.Future[Any]": ...

    async def ping(self) -> float: ...

    def scan_pages(self, *, match: str | bytes, count: int) -> AsyncIterator[list[bytes]]: ...


class Redis:
    """A resource: commands of concurrent callers share one connection (see `shared.redis.link`).

    Whether the URL leads to one Redis or to a node of a cluster is found out at start. On a cluster
    there is a connection to each master, and a command goes to that of its first key; one without
    keys goes to any. Several URLs of one cluster are separated by commas.

    Every command is answered within `timeout` seconds (longer while large replies are still coming
    in, at most eight times that) or fails with `UnavailableError`, reason
    `REDIS_TIMEOUT`, `REDIS_UNAVAILABLE`, `REDIS_BREAKER_OPEN`, `REDIS_QUEUE_FULL`, `REDIS_REFUSED`
    or `REDIS_FULL`. After the first two it is not known whether it was carried out; after the
    others it was not.
    """

    name = "redis"

    def __init__(self, url: str, *, timeout: float = 0.25) -> None:
        self._seeds = Endpoint.parse_all(url)
        self._timeout = timeout
        self._span_attributes = {
            "db.system.name": "redis",
            "db.namespace": str(self._seeds[0].options.get("db", 0)),
        }
        self._route: Route | None = None
        self._was_connected = False
        self._losses = 0
        self._knows_flags = True
        self._send: Callable[[tuple[Argument, ...]], asyncio.Future[Any]] = self._refuse

    async def start(self) -> None:
        """Connect; raises UnavailableError while Redis cannot be reached."""
        try:
            self._route = await self._find_route()
        except UnavailableError:
            self._losses += 1
            raise
        self._send = self._route.send if not tracing.records() else self._send_recorded
        self._show_whether_connected()

    async def close(self) -> None:
        """Disconnect; what waits fails."""
        if self._route is not None:
            await self._route.close()

    @property
    def connected(self) -> bool:
        """Return whether commands have a chance now; on a cluster, whatever their keys."""
        return self._route is not None and self._route.connected

    @property
    def losses(self) -> int:
        """Return how often `connected` ended, or did not begin when it was tried.

        It has changed before anybody is told that a command failed for it, so whoever remembers it
        knows also of a loss that was over before the next look.
        """
        return self._losses

    async def ping(self) -> float:
        """Return the seconds of one round trip; on a cluster, of the slowest master's."""
        if self._route is None:
            raise self._not_started()
        return await self._route.ping()

    def send(self, *args: Argument) -> "asyncio.Future[Any]":
        """Queue one command and return the future of its reply; all of one turn leave together.

        Raises UnavailableError at once while commands have no chance. For callers with a place of
        their own for the answer; others want `execute`.
        """
        return self._send(args)

    @property
    def batch(self) -> int:
        """Return a number that stays the same for as long as nothing that was queued has left.

        Whoever finds the number of a moment ago can share a reply that is still to be asked for.
        """
        return Wire.batches

    async def execute(self, *args: Argument) -> Any:
        """Run one command and return its reply, strings as bytes."""
        return await self._send(args)

    async def scan_pages(self, *, match: str | bytes, count: int) -> AsyncIterator[list[bytes]]:
        """Yield the keys that match in pages of about `count`, some of them empty.

        Every key that exists from beginning to end comes at least once, perhaps more often. Raises
        UnavailableError when that cannot be said any more, after a failover for instance: begin
        again. Keys of a slot that is moved to another node in between may be missed.
        """
        if self._route is None:
            raise self._not_started()
        async for page in self._route.scan_pages(match=match, count=count):
            yield page

    async def execute_many(self, commands: Iterable[tuple[Argument, ...]]) -> list[Any]:
        """Run commands that do not depend on each other; returns a reply or an error for each."""
        replies = [self._send_or_fail(command) for command in commands]
        return await asyncio.gather(*replies, return_exceptions=True)

    async def get_many(self, keys: Sequence[str | bytes]) -> list[Any]:
        """Return what lies under each key: bytes, None, or an error.

        One MGET where one Redis has all keys, a quarter of the work of as many GETs; it tells None
        for what is no string.
        """
        if isinstance(self._route, RedisLink):
            found: list[Any] = await self._send(("MGET", *keys))
            return found
        return await self.execute_many(("GET", key) for key in keys)

    def _send_or_fail(self, command: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        try:
            return self._send(command)
        except UnavailableError as error:
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def run_script(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument]
    ) -> Any:
        """Run a script by its digest, or by its text where Redis does not know it."""
        script = self._fitting(script)
        try:
            return await self._send(("EVALSHA", script.sha, len(keys), *keys, *args))
        except NoScriptError:
            return await self._send(("EVAL", script.text, len(keys), *keys, *args))

    async def run_script_many(
        self, script: Script, calls: Iterable[tuple[Sequence[str | bytes], Sequence[Argument]]]
    ) -> list[Any]:
        """Run a script once for each pair of keys and arguments; a reply or an error for each."""
        script = self._fitting(script)
        rest = [(len(keys), *keys, *args) for keys, args in calls]
        replies = await self.execute_many(("EVALSHA", script.sha, *call) for call in rest)
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        again = await self.execute_many(("EVAL", script.text, *rest[n]) for n in unknown)
        for n, reply in zip(unknown, again, strict=True):
            replies[n] = reply
        return replies

    def _fitting(self, script: Script) -> Script:
        return script if self._knows_flags or script.older is None else script.older

    async def _find_route(self) -> Route:
        link = await self._first_link()
        try:
            facts = await _facts(link)
        except BaseException:
            await link.close()
            raise
        self._knows_flags = not facts.get(b"version", b"5.").startswith(OLD_VERSIONS)
        is_cluster = facts.get(b"mode") == b"cluster"
        if not is_cluster and len(self._seeds) == 1:
            return link
        await link.close()
        if not is_cluster:
            raise ConfigurationError(
                f"MAINSTAY_REDIS_URL holds several addresses, but Redis at {link.endpoint.address} "
                "is no cluster; name the one to use"
            )
        cluster = RedisCluster(
            self._seeds, timeout=self._timeout, on_change=self._show_whether_connected
        )
        await cluster.start()
        return cluster

    async def _first_link(self) -> RedisLink:
        """Return a link to the first address that answers."""
        for seed in self._seeds:
            link = RedisLink(seed, timeout=self._timeout, on_change=self._show_whether_connected)
            try:
                await link.start()
            except UnavailableError:
                if seed is self._seeds[-1]:
                    raise
            else:
                return link
        raise AssertionError("there is at least one address")

    def _show_whether_connected(self) -> None:
        connected = self.connected
        self._losses += self._was_connected and not connected
        self._was_connected = connected
        metrics.redis_breaker_open.set(not connected)

    def _send_recorded(self, args: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        """Send, and give a call that is recorded a span: the time that it waits for its reply."""
        assert self._route is not None, "only what has a route sends"
        reply = self._route.send(args)
        if (recording := tracing.recording()) is not None:
            reply.add_done_callback(partial(self._record, recording, args, time.perf_counter()))
        return reply

    def _record(
        self,
        recording: tracing.Recording,
        args: tuple[Argument, ...],
        began: float,
        reply: "asyncio.Future[Any]",
    ) -> None:
        name = str(args[0])
        attributes = {**self._span_attributes, "db.operation.name": name}
        if script := _script_names.get(str(args[1])) if len(args) > 1 else None:
            attributes["db.stored_procedure.name"] = script
            name = f"{name} {script}"
        failure = None if reply.cancelled() else reply.exception()
        if failure is not None:
            attributes["error.type"] = getattr(failure, "reason", type(failure).__name__)
        recording.add(
            name,
            seconds=time.perf_counter() - began,
            attributes=attributes,
            failed=failure is not None,
        )

    def _refuse(self, _: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        raise self._not_started()

    def _not_started(self) -> UnavailableError:
        return unavailable(
            self._seeds[0].address,
            "REDIS_BREAKER_OPEN",
            "not connected",
            retry_after=self._timeout,
        )


async def _facts(link: RedisLink) -> dict[bytes, Any]:
    """Return what the server says of itself; nothing for one that is too old, or a proxy."""
    try:
        hello = await link.send(("HELLO",))  # every user may ask this, whatever else it may not
    except RedisReplyError:
        return {}
    return hello if isinstance(hello, dict) else dict(zip(hello[::2], hello[1::2], strict=False))
