"""Spends shares of a limit in this process, without asking for each act."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from mainstay.errors import (
    MainstayError,
    PreconditionError,
    RateLimitStoreError,
    UnavailableError,
)
from mainstay.owned_tasks import OwnedTasks
from mainstay.ratelimit import conversions
from mainstay.ratelimit.results import Decision
from mainstay.ratelimit.shares import UNLIMITED_AMOUNT, Share, Shares, reserved, unnamed
from mainstay.ratelimit.token_source import TokenSource

# For how long an answer is believed that gave nothing: a denial or a failure.
PAUSE_SECONDS = 1.0

_log = logging.getLogger("mainstay.ratelimit")


class LocalTokens:
    """Spends a limit locally, from shares that are reserved at the service before they are needed.

    Made by `RateLimitClient.local_tokens`; for one event loop. Shares count as consumed from when
    they were reserved. So no window of a limit's length sees more spent than the limit and what all
    spenders held at its beginning: at most `share` each, or the largest cost asked for. Against
    that, what is held and not spent is missing to others: a spender that is denied may find room
    when another closes or its shares end.
    """

    def __init__(
        self,
        source: TokenSource,
        share: int,
        *,
        on_close: Callable[["LocalTokens"], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._size = conversions.countable(share, "share")
        self._shares = Shares(share)
        self._tasks = OwnedTasks()
        self._on_close = on_close
        self._queue = asyncio.Lock()
        self._flight: asyncio.Task[Decision] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._denial: tuple[int, Decision] | None = None
        self._failure: MainstayError | None = None
        self._pause_ends = float("-inf")
        self._degraded = False

    async def __aenter__(self) -> Self:
        """Return the spender itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the spender."""
        await self.close()

    async def spend(self, cost: int = 1) -> Decision:
        """Spend `cost` (1 to 1,000,000) from what is held, without a call when it is enough.

        The next share is reserved in the background before this one is used up. When there is not
        enough, one is awaited, by one call for all who wait. The decision is of the share that was
        spent: figures such as `remaining` are as of its reservation. A denied one is the service's,
        a second old at most. While the counters cannot be reached and the shares are used up, the
        service decides each act by the rule's failure mode.

        Raises what `RateLimitClient.check` raises when nobody can decide, and PreconditionError
        when the spender is closed.
        """
        now = time.monotonic()
        decision = self._shares.take(cost, now)
        if decision is None:
            return await self._spend_slowly(cost)
        self._refill(now)
        return decision

    @property
    def held(self) -> int:
        """What can be spent now without a call."""
        return self._shares.held(time.monotonic())

    async def close(self) -> None:
        """Give back what was not spent; harmless when repeated. Takes some seconds at most."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._timer is not None:
                self._timer.cancel()
            if self._flight is not None:
                await asyncio.wait({self._flight})
        finally:
            self._give_back(self._shares.remove_all())
            await self._tasks.finish()
            self._on_close(self)

    async def _spend_slowly(self, cost: int) -> Decision:
        conversions.countable(cost)
        # One at a time, in their order, so that one share after the other is asked for.
        async with self._queue:
            decision = await self._spend_reserved(cost)
        if decision is not None:
            return decision
        decision = await self._source.check(cost)
        self._degraded = decision.degraded
        return decision

    async def _spend_reserved(self, cost: int) -> Decision | None:
        """Spend from shares, waiting for them; None while the service gives none."""
        while True:
            self._require_open()
            now = time.monotonic()
            decision = self._shares.take(cost, now)
            if decision is not None:
                self._refill(now)
                return decision
            if self._flight is not None:
                await asyncio.wait({self._flight})
                continue
            if self._degraded:
                return None
            missing = cost - self._shares.held(now)
            known = self._known(missing, now)
            if known is not None:
                return known
            denied = await self._ask(missing, now)
            if denied is not None:
                return denied

    def _require_open(self) -> None:
        if self._closed:
            raise PreconditionError("the local tokens are closed; make others to spend more")

    def _known(self, missing: int, now: float) -> Decision | None:
        """Return a denial that still holds, or raise why nobody could be asked a moment ago."""
        if now >= self._pause_ends:
            return None
        if self._failure is not None:
            raise UnavailableError(
                f"the rate limits could not be asked a moment ago: {self._failure.message}",
                retry_after=self._pause_ends - now,
            ) from self._failure
        if self._denial is not None and missing >= self._denial[0]:
            return self._denial[1]
        return None

    async def _ask(self, missing: int, now: float) -> Decision | None:
        """Reserve what is missing and more; returns a denial."""
        amount = max(missing, self._size - self._shares.held(now))
        # Beside the caller: who is cancelled must not lose a share that is on its way.
        flight = self._begin(min(amount, conversions.MAX_COST), missing)
        await asyncio.wait({flight})
        try:
            decision = flight.result()
        except RateLimitStoreError:
            return None  # which is remembered: no shares are given meanwhile
        return None if decision.allowed else decision

    def _refill(self, now: float) -> None:
        """Reserve in the background, if more will be needed."""
        if self._flight is not None or now < self._pause_ends or self._degraded or self._closed:
            return
        lacking = self._shares.lacking(now)
        if lacking:
            self._begin(lacking, 1)

    def _begin(self, amount: int, least: int) -> asyncio.Task[Decision]:
        self._flight = self._tasks.start(self._fly(amount, least), "reserving tokens")
        return self._flight

    async def _fly(self, amount: int, least: int) -> Decision:
        """Reserve, and remember what was answered."""
        sent = time.monotonic()
        try:
            answer = await self._source.reserve(amount, least)
        except MainstayError as error:
            self._remember_failure(error)
            raise
        finally:
            self._flight = None
        self._failure = self._denial = None
        self._pause_ends = float("-inf")
        if answer.reservation is not None:
            self._add(reserved(answer.reservation, answer.decision, sent))
        elif not answer.decision.allowed:
            self._remember_denial(least, answer.decision)
        elif answer.decision.degraded:
            # Admitted was `least`, or more that nobody tells; from now on each act is asked for.
            self._degraded = True
            self._add(unnamed(answer.decision, sent, PAUSE_SECONDS, least))
        else:
            self._add(unnamed(answer.decision, sent, self._free_seconds(), UNLIMITED_AMOUNT))
        return answer.decision

    def _free_seconds(self) -> float:
        ttl: timedelta | None = self._source.ttl
        return PAUSE_SECONDS if ttl is None else ttl.total_seconds()

    def _remember_failure(self, error: MainstayError) -> None:
        if isinstance(error, RateLimitStoreError):
            self._degraded = True
        elif error.transient:
            # Those who wait in line would each wait as long for the same answer.
            self._failure, self._pause_ends = error, time.monotonic() + PAUSE_SECONDS
        _log.info("could not reserve tokens: %s", error.message)

    def _remember_denial(self, least: int, decision: Decision) -> None:
        wait = PAUSE_SECONDS if decision.retry_after is None else decision.retry_after
        self._denial = (least, decision)
        self._pause_ends = time.monotonic() + min(wait, PAUSE_SECONDS)

    def _add(self, share: Share) -> None:
        self._give_back(self._shares.add(share, time.monotonic()))
        self._set_timer()

    def _set_timer(self) -> None:
        """Have shares returned when they end, also when nobody spends any more."""
        if self._timer is not None:
            self._timer.cancel()
        ends = self._shares.next_end()
        if ends is not None and not self._closed:
            wait = max(0.0, ends - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self._end_shares)

    def _end_shares(self) -> None:
        self._give_back(self._shares.remove_ended(time.monotonic()))
        self._set_timer()

    def _give_back(self, shares: list[Share]) -> None:
        for share in shares:
            if share.token and share.left:
                self._tasks.start(
                    self._source.give_back(share.token, share.left), "returning tokens"
                )
