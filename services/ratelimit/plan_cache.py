"""Plans in the cache service: one look-up for all replicas, and copies in this process.

An entry must not outlive the assignment it was made of. What could not be invalidated is tried
again until it could, and is not read from the cache meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice

import structlog

from mainstay.cache import CacheClient, NearCacheOptions
from mainstay.channel import Channel
from mainstay.context import current, request
from mainstay.credentials import Credentials
from mainstay.errors import MainstayError
from services.ratelimit import plan_metrics
from services.ratelimit.plan_ports import PlanKey
from shared.rpc.call import Tenant

NAMESPACE = "ratelimit.plans"
TTL_CLASS = "user_plan"
MAX_UNTOLD = 10_000
TELL_SECONDS = 0.4
"""How long a change of a plan waits for the cache: it is to be effective within a second."""

_CALL_SECONDS = 2.0
_NEAR_BYTES = 8 * 1024 * 1024
_AT_ONCE = 1_000
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0

log = structlog.get_logger()


class PlanCache:
    """A resource: plans as the cache service at an address holds them, and what it must forget."""

    name = "plan cache"

    def __init__(
        self,
        address: str,
        *,
        credentials: Credentials | None = None,
        max_untold: int = MAX_UNTOLD,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._max_untold = max_untold
        self._channel: Channel | None = None
        self._client: CacheClient | None = None
        # Numbered, so that what changed again while it was being told is told once more.
        self._untold: dict[PlanKey, int] = {}
        self._untold_tenants: dict[Tenant, int] = {}
        self._numbers = count(1)
        self._due = asyncio.Event()

    async def start(self) -> None:
        """Make a client; nobody waits for the cache service to be there."""
        self._channel = Channel(self._address, timeout=_CALL_SECONDS, credentials=self._credentials)
        self._client = CacheClient(self._channel, near=NearCacheOptions(max_bytes=_NEAR_BYTES))

    async def close(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        channel, self._channel = self._channel, None
        if client is not None and channel is not None:
            await client.close()
            await channel.close()

    def may_answer(self, key: PlanKey) -> bool:
        """Return whether what the cache holds of a plan can be believed."""
        return key not in self._untold and key.tenant not in self._untold_tenants

    async def get(self, key: PlanKey, find: Callable[[], Awaitable[str]]) -> str:
        """Return a plan, found by `find` once for all who ask anywhere; empty for none.

        Raises what `find` raises, and the errors of a cache that is not there.
        """

        async def compute() -> bytes:
            return (await find()).encode()

        with _as(key.tenant):
            value = await self._cache.get_or_compute(
                NAMESPACE, key.subject, compute, ttl_class=TTL_CLASS, on_unavailable="raise"
            )
        return (value or b"").decode()

    async def forget(self, keys: Sequence[PlanKey]) -> None:
        """Invalidate entries, now if the cache answers within a bounded time, else later."""
        for key in keys:
            self._untold[key] = next(self._numbers)
        self._bound()
        self._count()
        if self._due.is_set():
            return  # it did not answer a moment ago; `run` is at it
        try:
            async with asyncio.timeout(TELL_SECONDS):
                await self.tell_once()
        except (TimeoutError, MainstayError) as error:
            log.warning(
                "plan_changes_untold",
                changes=len(self._untold) + len(self._untold_tenants),
                error=str(error) or "the cache service did not answer in time",
            )
        finally:
            if self._untold or self._untold_tenants:
                self._due.set()

    async def run(self) -> None:
        """Tell what could not be told, again and again; for a background task."""
        pause = _FIRST_PAUSE
        while True:
            await self._due.wait()
            try:
                await self.tell_once()
            except MainstayError as error:
                log.debug("plan_changes_untold", error=error.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._due.clear()
                pause = _FIRST_PAUSE

    async def tell_once(self) -> None:
        """Invalidate all that is untold; raises the error of the first that fails."""
        for tenant, number in list(self._untold_tenants.items()):
            with _as(tenant):
                await self._cache.invalidate_namespace(NAMESPACE)
            if self._untold_tenants.get(tenant) == number:
                del self._untold_tenants[tenant]
            self._count()
        for tenant in list(dict.fromkeys(key.tenant for key in self._untold)):
            await self._tell(tenant)

    async def _tell(self, tenant: Tenant) -> None:
        numbers = [(key, number) for key, number in self._untold.items() if key.tenant == tenant]
        rest = iter(numbers)
        while batch := list(islice(rest, _AT_ONCE)):
            with _as(tenant):
                await self._cache.invalidate_keys(NAMESPACE, [key.subject for key, _ in batch])
            for key, number in batch:
                if self._untold.get(key) == number:
                    del self._untold[key]
            self._count()

    def _bound(self) -> None:
        """Forget which subjects it was when there are too many: then it was all of them."""
        if len(self._untold) > self._max_untold:
            for key in self._untold:
                self._untold_tenants[key.tenant] = next(self._numbers)
            self._untold.clear()

    def _count(self) -> None:
        plan_metrics.untold.set(len(self._untold) + len(self._untold_tenants))

    @property
    def _cache(self) -> CacheClient:
        assert self._client is not None, "start it first"
        return self._client


@contextmanager
def _as(tenant: Tenant) -> Iterator[None]:
    """Call the cache in the name of a tenant, and of the request that is being handled if any."""
    outer = current()
    with request(request_id=outer.request_id if outer else None, tenant=tenant):
        yield
