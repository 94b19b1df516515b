"""Computing under a lease: keep it meanwhile, then store the value or give the lease back."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from mainstay.cache.leases import Leases
from mainstay.cache.reachability import ANSWER_SECONDS, Reachability
from mainstay.cache.results import Filled, FillOutcome, Lease, Nothing
from mainstay.errors import MainstayError
from mainstay.owned_tasks import OwnedTasks

_log = logging.getLogger("mainstay.cache")

_SHORTEST_BEAT_SECONDS = 0.003
_BYTES_PER_SECOND = 1_000_000
_LONGEST_DURATION = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """A computed value that says more than its bytes; what is given here goes before the call's.

    Attributes:
        value: The bytes.
        tags: In addition to those of the call.
        content_type: Its media type.
        ttl: How long it lives, instead of the call's `ttl` or `ttl_class`.
        ttl_class: The class it lives in, instead of the call's.

    """

    value: bytes = field(kw_only=False)
    tags: tuple[str, ...] = ()
    content_type: str = ""
    ttl: timedelta | None = None
    ttl_class: str | None = None


Compute: TypeAlias = Callable[[], Awaitable[bytes | Computed | Nothing]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What to compute, and how to keep it."""

    namespace: str
    key: str
    compute: Compute
    ttl: timedelta | None
    ttl_class: str | None
    tags: tuple[str, ...]
    content_type: str
    lease_duration: timedelta

    def __str__(self) -> str:
        """Return the name of the entry for people."""
        return f"{self.namespace}/{self.key[:100]}"

    async def run(self) -> Computed | Nothing:
        """Compute."""
        found = await self.compute()
        if isinstance(found, bytes):
            return Computed(found)
        if isinstance(found, Computed | Nothing):
            return found
        raise TypeError(
            f"computing {self} gave {type(found).__name__}; return bytes, Computed or NOTHING"
        )


class LeasedWork:
    """Runs computations under leases."""

    def __init__(self, leases: Leases, reachability: Reachability) -> None:
        self._leases = leases
        self._reachability = reachability
        self._partings = OwnedTasks()

    async def run(
        self,
        work: Work,
        lease: Lease,
        *,
        on_computed: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> tuple[bytes | None, FillOutcome | None]:
        """Compute, store, and return the value and what became of it; None: it is not known.

        `on_computed` is called when the value is about to be sent, `on_lost` when the lease was
        lost before. A computation that fails is reported, and raises what it raised.
        """
        began = time.monotonic()
        try:
            async with self._kept(work, lease, on_lost):
                computed = await work.run()
        except asyncio.CancelledError:
            self.give_back(lease)
            raise
        except Exception as error:
            report = self.give_back(lease, f"{type(error).__name__}: {error}")
            # Whoever asks next is to find the report, so that it does not try at once. Cancelled
            # meanwhile, this ends all the same, and the error is the better end to tell of.
            with suppress(asyncio.CancelledError):
                await asyncio.wait({report})
            raise
        on_computed()
        took = timedelta(seconds=time.monotonic() - began)
        value = computed.value if isinstance(computed, Computed) else None
        return value, await self._fill(work, lease, computed, min(took, _LONGEST_DURATION))

    def give_back(self, lease: Lease, error: str = "") -> asyncio.Task[None]:
        """Give a lease back beside the caller, who may be being cancelled."""
        return self._partings.start(self._abandon(lease, error), f"abandoning {lease.key[:100]}")

    async def close(self) -> None:
        """Wait until the leases that are being given back are; a second at most."""
        await self._partings.finish()

    async def _fill(
        self, work: Work, lease: Lease, computed: Computed | Nothing, took: timedelta
    ) -> FillOutcome | None:
        try:
            self._reachability.admit()
            filled = await _fill(self._leases, work, lease, computed, took)
        except MainstayError as error:
            self._reachability.failed(error)
            _log.warning("could not store %s, using it all the same: %s", work, error.message)
            self.give_back(lease)
            return None
        self._reachability.answered()
        if filled.outcome is not FillOutcome.STORED:
            _log.info("%s was not stored: %s", work, filled.outcome.value)
        return filled.outcome

    async def _abandon(self, lease: Lease, error: str) -> None:
        try:
            self._reachability.admit()
            await self._leases.abandon(lease, error=error, timeout=ANSWER_SECONDS)
        except MainstayError as failure:
            self._reachability.failed(failure)
            _log.info("could not give back a lease, which ends by itself: %s", failure.message)

    @asynccontextmanager
    async def _kept(
        self, work: Work, lease: Lease, on_lost: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Extend the lease, at a third of its duration each time, while the block runs."""
        beat = asyncio.create_task(
            self._extend(work, lease, on_lost), name=f"keeping the lease on {work}"
        )
        try:
            yield
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    async def _extend(self, work: Work, lease: Lease, on_lost: Callable[[], None]) -> None:
        left: timedelta | None = lease.duration
        ends = time.monotonic() + lease.duration.total_seconds()
        while left is not None and time.monotonic() < ends:
            pause = max(left.total_seconds() / 3, _SHORTEST_BEAT_SECONDS)
            await asyncio.sleep(pause)
            try:
                left = await self._leases.extend(
                    lease, work.lease_duration, timeout=max(min(pause, ANSWER_SECONDS), 0.1)
                )
            except MainstayError as error:
                _log.info("could not extend the lease on %s: %s", work, error.message)
                continue
            if left is not None:
                ends = time.monotonic() + left.total_seconds()
        _log.info("lost the lease on %s while computing it", work)
        on_lost()


async def _fill(
    leases: Leases, work: Work, lease: Lease, computed: Computed | Nothing, took: timedelta
) -> Filled:
    if isinstance(computed, Nothing):
        # A `ttl` is meant for values; how long nothing is believed, the class says.
        return await leases.fill(
            lease,
            computed,
            ttl_class=work.ttl_class,
            tags=work.tags,
            compute_duration=took,
            timeout=ANSWER_SECONDS,
        )
    own_expiry = computed.ttl is not None or computed.ttl_class is not None
    return await leases.fill(
        lease,
        computed.value,
        ttl=computed.ttl if own_expiry else work.ttl,
        ttl_class=computed.ttl_class if own_expiry else work.ttl_class,
        content_type=computed.content_type or work.content_type,
        tags=dict.fromkeys((*work.tags, *computed.tags)),
        compute_duration=took,
        timeout=ANSWER_SECONDS + len(computed.value) / _BYTES_PER_SECOND,
    )
