"""All four services behind one object."""

import asyncio
import os
from types import TracebackType
from typing import Self

from mainstay.cache.client import CacheClient
from mainstay.cache.near import NearCacheOptions
from mainstay.channel import Channel
from mainstay.credentials import Credentials
from mainstay.health.client import HealthClient
from mainstay.jobs.client import JobClient
from mainstay.ratelimit.client import RateLimitClient

DEFAULT_ADDRESSES = {
    "cache": "127.0.0.1:50051",
    "ratelimit": "127.0.0.1:50052",
    "jobs": "127.0.0.1:50053",
    "health": "127.0.0.1:50054",
}


class Mainstay:
    """Clients of the whole suite. An async context manager; connects when first used.

    ::

        async with Mainstay(tenant="acme") as mainstay:
            with request(request_id=incoming_id):
                found = await mainstay.cache.get("video", "42")

    Addresses are `host:port`. `tenant` is used where the current request names none. `timeout`
    bounds every call that does not bring its own, in seconds. With `near`, entries of classes that
    allow it are kept in this process too. `credentials` say who calls, and whether over TLS.

    Attributes:
        cache: Reads and writes cached values.
        ratelimit: Asks whether somebody may act.
        jobs: Sends events and watches jobs.
        health: Tells how the suite is.

    """

    def __init__(
        self,
        *,
        cache: str = DEFAULT_ADDRESSES["cache"],
        ratelimit: str = DEFAULT_ADDRESSES["ratelimit"],
        jobs: str = DEFAULT_ADDRESSES["jobs"],
        health: str = DEFAULT_ADDRESSES["health"],
        tenant: str | None = None,
        timeout: float = 5.0,
        near: NearCacheOptions | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._channels = [
            Channel(target, tenant=tenant, timeout=timeout, credentials=credentials)
            for target in (cache, ratelimit, jobs, health)
        ]
        to_cache, to_ratelimit, to_jobs, to_health = self._channels
        self.cache = CacheClient(to_cache, near=near)
        self.ratelimit = RateLimitClient(to_ratelimit)
        self.jobs = JobClient(to_jobs)
        self.health = HealthClient(to_health)

    @classmethod
    def from_environment(
        cls,
        *,
        tenant: str | None = None,
        timeout: float = 5.0,
        near: NearCacheOptions | None = None,
        credentials: Credentials | None = None,
    ) -> Self:
        """Connect to the addresses in `MAINSTAY_CACHE_ADDRESS` and its like, or the defaults."""
        addresses = {
            name: os.environ.get(f"MAINSTAY_{name.upper()}_ADDRESS", default)
            for name, default in DEFAULT_ADDRESSES.items()
        }
        return cls(**addresses, tenant=tenant, timeout=timeout, near=near, credentials=credentials)

    async def __aenter__(self) -> Self:
        """Return the object itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """End what clients do in the background, then close the connections.

        Shares of limits that were not spent are given back. Calls in flight are cancelled.
        """
        try:
            await asyncio.gather(self.cache.close(), self.ratelimit.close())
        finally:
            await asyncio.gather(*(channel.close() for channel in self._channels))
