"""A Redis Cluster as one client: a link to every master, and each command to the master of its key.

Who owns which slot is learned at start, and again whenever it turns out to be wrong: a link breaks,
or a node sends a command elsewhere. Until a promotion is over, commands for the slots of the lost
master fail at once, and all others go on.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog

from mainstay.errors import MainstayError, UnavailableError
from shared.redis.endpoint import Endpoint
from shared.redis.errors import RedirectError, error_of, unavailable
from shared.redis.link import FIRST_RECONNECT, RedisLink
from shared.redis.slots import SLOTS, Node, Redirect, Topology, slot_of
from shared.redis.views import best_view
from shared.redis.wire import MAX_WAITING, Argument

MAX_REDIRECTS = 3
LONGEST_DOUBT = 0.5
"""Seconds between two looks at a cluster in which something is wrong."""

T = TypeVar("T")

log = structlog.get_logger()


class RedisCluster:
    """Routes commands of all callers; keeps its map of the cluster right.

    `on_change` is called whenever `connected` may have changed.
    """

    def __init__(
        self, seeds: Sequence[Endpoint], *, timeout: float, on_change: Callable[[], None]
    ) -> None:
        self._seeds = seeds
        self._timeout = timeout
        self._on_change = on_change
        self._topology = Topology.unknown()
        self._owners: list[RedisLink | None] = [None] * SLOTS
        self._links: dict[Node, RedisLink] = {}
        self._opening: dict[Node, asyncio.Task[RedisLink]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._doubtful = asyncio.Event()
        self._keyless: RedisLink | None = None
        self._changes = 0

    async def start(self) -> None:
        """Connect to every master, or raise why not; from then on follow the cluster's changes."""
        try:
            await self._refresh()
            self._check_connected("REDIS_UNAVAILABLE")
        except BaseException:
            await self.close()
            raise
        self._doubtful.clear()
        self._own(self._follow_changes())

    async def close(self) -> None:
        """Fail what waits and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    @property
    def connected(self) -> bool:
        """Return whether every slot has a master that is connected."""
        links = [self._links.get(node) for node in self._topology.masters]
        return self._topology.is_complete and all(link and link.connected for link in links)

    def send(self, args: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        """Queue one command and return the future of its reply."""
        slot = slot_of(args)
        owner = self._any_link() if slot is None else self._owners[slot]
        if owner is None:
            raise self._unavailable("REDIS_BREAKER_OPEN", "no master is known for this key")
        return owner.send_routed(args)

    async def ping(self) -> float:
        """Return the seconds of the slowest master's round trip."""
        self._check_connected("REDIS_BREAKER_OPEN")
        pings = (self._links[node].ping() for node in self._topology.masters)
        return max(await asyncio.gather(*pings))

    async def scan_pages(self, *, match: str | bytes, count: int) -> AsyncIterator[list[bytes]]:
        """Yield the keys of all masters in pages (see `Redis.scan_pages`)."""
        self._check_connected("REDIS_BREAKER_OPEN")
        changes = self._changes
        # The links of now: one whose node was lost since then is not there any more.
        links = [self._links[node] for node in sorted(self._topology.masters)]
        for link in links:
            async for page in link.scan_pages(match=match, count=count):
                self._check_unmoved(changes)
                yield page
            self._check_unmoved(changes)

    def _check_unmoved(self, changes: int) -> None:
        if changes != self._changes:
            raise self._unavailable("REDIS_REFUSED", "slots have moved since the scan began")

    def _check_connected(self, reason: str) -> None:
        if not self.connected:
            raise self._unavailable(reason, "not every slot has a master that is connected")

    def _any_link(self) -> RedisLink | None:
        """Return the same link as long as it is there: what is published stays in order."""
        if self._keyless is None or not self._keyless.connected:
            there = [link for link in self._links.values() if link.connected]
            self._keyless = random.choice(there) if there else None  # noqa: S311
        return self._keyless

    async def _follow_changes(self) -> None:
        """Learn anew whenever there is doubt, again and again while a slot has no master."""
        wait = FIRST_RECONNECT
        while True:
            if not self._doubtful.is_set():
                wait = FIRST_RECONNECT
            await self._doubtful.wait()
            self._doubtful.clear()
            try:
                await self._refresh()
            except MainstayError as error:
                log.warning("redis_cluster_unknown", error=error.message)
            except Exception:
                # Without this task the map would stay wrong for ever.
                log.exception("redis_cluster_unknown")
            if not self.connected:
                self._doubtful.set()
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
            wait = min(wait * 2, LONGEST_DOUBT)

    async def _refresh(self) -> None:
        """Ask who owns what, and connect to whoever is new."""
        there = [link for link in self._links.values() if link.connected]
        elsewhere = [self._seeds[0].at(*node) for node in self._topology.nodes]
        others = [self._new_link(endpoint) for endpoint in (*elsewhere, *self._seeds)]
        topology = await best_view(there, others)
        opened = await asyncio.gather(*map(self._link_to, topology.masters), return_exceptions=True)
        for error in opened:
            if isinstance(error, MainstayError):
                log.warning("redis_master_unreachable", error=error.message)
        self._adopt(topology)

    def _adopt(self, topology: Topology) -> None:
        owners: list[RedisLink | None] = [None] * SLOTS
        for first, last, node in topology.ranges:
            owners[first : last + 1] = [self._links.get(node)] * (last - first + 1)
        if owners != self._owners:
            self._changes += 1
            log.info("redis_cluster_learned", masters=len(topology.masters))
        self._owners, self._topology = owners, topology
        for node, link in [*self._links.items()]:
            # One that is no master now may be on its way to be one: a slot migrates to it.
            if node in topology.replicas or not (node in topology.masters or link.connected):
                del self._links[node]
                self._keyless = None if link is self._keyless else self._keyless
                self._own(self._retire(link))
        self._on_change()

    async def _retire(self, link: RedisLink) -> None:
        """Give commands in flight their time to be answered, or sent elsewhere."""
        try:
            if link.connected:
                await asyncio.sleep(self._timeout)
        finally:
            await link.close()

    async def _link_to(self, node: Node) -> RedisLink:
        """Return the link to a node; however many ask for a new one, one is made."""
        if link := self._links.get(node):
            return link
        if node not in self._opening:
            opening = self._own(self._open(node))
            self._opening[node] = opening
            opening.add_done_callback(lambda _: self._opening.pop(node, None))
        return await asyncio.shield(self._opening[node])

    async def _open(self, node: Node) -> RedisLink:
        link = self._new_link(self._seeds[0].at(*node))
        await link.start()
        self._links[node] = link
        return link

    def _new_link(self, endpoint: Endpoint) -> RedisLink:
        return RedisLink(
            endpoint,
            timeout=self._timeout,
            on_change=self._note_change,
            on_misrouted=partial(self._on_misrouted, endpoint.host),
        )

    def _note_change(self) -> None:
        if not self.connected:
            self._doubtful.set()
        self._on_change()

    def _on_misrouted(
        self, asked_host: str, caller: "asyncio.Future[Any]", packed: bytes, sent: float, text: str
    ) -> None:
        if not text.startswith("ASK"):
            self._doubtful.set()
        if text.startswith("CLUSTERDOWN"):
            caller.set_exception(error_of(text, asked_host, retry_after=self._timeout))
        elif len(self._tasks) >= MAX_WAITING:
            caller.set_exception(self._unavailable("REDIS_QUEUE_FULL", "too many redirects"))
        else:
            following = self._own(self._follow(asked_host, caller, packed, sent, text))
            # A task that is cancelled before it began runs no `finally`.
            following.add_done_callback(lambda _: self._let_go(caller))

    async def _follow(
        self, asked_host: str, caller: "asyncio.Future[Any]", packed: bytes, sent: float, text: str
    ) -> None:
        """Give a caller the reply of the node that its command was sent to elsewhere."""
        error: Exception | None = None
        reply = None
        try:
            async with asyncio.timeout(sent + self._timeout - time.monotonic()):
                reply = await self._send_elsewhere(asked_host, packed, text)
        except TimeoutError:
            error = self._unavailable("REDIS_TIMEOUT", f"no answer within {self._timeout:g} s")
        except Exception as failure:  # noqa: BLE001 - it is the caller's
            error = failure
        if caller.done():
            return
        if error is None:
            caller.set_result(reply)
        else:
            caller.set_exception(error)

    def _let_go(self, caller: "asyncio.Future[Any]") -> None:
        if not caller.done():
            error = self._unavailable("REDIS_UNAVAILABLE", "the service is stopping")
            caller.set_exception(error)

    async def _send_elsewhere(self, asked_host: str, packed: bytes, text: str) -> Any:
        for _ in range(MAX_REDIRECTS):
            redirect = Redirect.parse(text, asked_host=asked_host)
            link = await self._link_to(redirect.node)
            if not redirect.is_ask and self._owners[redirect.slot] is not link:
                self._owners[redirect.slot] = link
                self._changes += 1
            try:
                return await link.send_again(packed, asking=redirect.is_ask)
            except RedirectError as error:
                asked_host, text = redirect.node[0], str(error)
        raise self._unavailable("REDIS_REFUSED", f"{MAX_REDIRECTS} redirects in a row, last {text}")

    def _own(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work, name="redis-cluster")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _unavailable(self, reason: str, why: str) -> UnavailableError:
        address = ",".join(seed.address for seed in self._seeds)
        return unavailable(address, reason, why, retry_after=self._timeout)
