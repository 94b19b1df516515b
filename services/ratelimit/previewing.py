"""The use case: a preview of a policy."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, Protocol

from services.ratelimit.checks import refuse
from services.ratelimit.policy import SECOND
from services.ratelimit.policy_reading import PolicyReading, policy_text_fault
from services.ratelimit.ports import NowUs, Policies
from services.ratelimit.preview import OverridesUnder, Preview, Replay
from services.ratelimit.traffic import RANKS, Batch, Checks, RecordedCheck, Sample
from services.ratelimit.turns import Turns
from shared.rpc.call import Tenant

MAX_WINDOW = 900 * SECOND
MAX_DIFFERENT = 20_000
MAX_CHECKS = 100_000
"""Of one preview: a few seconds of work. Where there are more, fewer subjects are looked at."""

# What a call may wait for a slice of a preview: well below a millisecond.
_SLICE = 20
_SORTED_AT_ONCE = 500


class Previewed(NamedTuple):
    """A preview, and what it is based on.

    Attributes:
        preview: What would change.
        sampled: The share of the subjects whose checks were replayed.
        since: From when on, in microseconds since 1970; None when nothing was recorded.

    """

    preview: Preview
    sampled: float
    since: int | None


class Traffic(Protocol):
    """Recent checks."""

    def batches(self, since: int) -> AsyncIterator[Batch]:
        """Yield what was recorded since a moment; raises RateLimitStoreError."""
        ...


class Previewing:
    """Replays recent checks of a tenant against a policy that is not in force."""

    def __init__(
        self,
        *,
        policies: Policies,
        reading: PolicyReading,
        traffic: Traffic,
        overrides: OverridesUnder,
        write_recent: Callable[[], Awaitable[None]],
        now_us: NowUs,
    ) -> None:
        self._policies = policies
        self._reading = reading
        self._traffic = traffic
        self._overrides = overrides
        self._write_recent = write_recent
        self._now_us = now_us
        self._turns = Turns("a preview")

    async def preview(self, tenant: Tenant, text: str, *, window: int) -> Previewed:
        """Tell what a policy would change.

        Raises ValidationError for one with mistakes, and UnavailableError (`OVERLOADED`) while too
        many wait for their turn.
        """
        whole = window % SECOND == 0 and SECOND <= window <= MAX_WINDOW
        refuse(
            {
                "text": policy_text_fault(text),
                "window": None
                if whole
                else "is not whole seconds up to 15 minutes; give 1s to 900s",
            }
        )
        async with self._turns:
            policy = await self._reading.read(text)
            # What this replica saw a moment ago belongs to it.
            await self._write_recent()
            sample, since = await self._recorded(tenant, self._now_us() - window)
            replay = Replay(self._policies.current, policy, self._overrides)
            await _run(replay, sample)
        return Previewed(replay.preview(), max(1, sample.bound) / RANKS, since)

    async def _recorded(self, tenant: Tenant, since: int) -> tuple[Sample, int | None]:
        """Return the checks of the tenant, and from when on there are some of anybody."""
        sample, begins = Sample(size=MAX_DIFFERENT, total=MAX_CHECKS), list[int]()
        async for batch in self._traffic.batches(since):
            await asyncio.sleep(0)
            begins.append(max(batch.begin, since))
            # What is complete in one batch only is complete in none.
            sample.lower(batch.bound)
            for check, count in batch.checks.items():
                wanted = check.tenant == tenant and check.at >= since
                if wanted and sample.takes(tenant, check.subject):
                    sample.add(check, count)
        return sample, min(begins, default=None)


async def _run(replay: Replay, sample: Sample) -> None:
    """Judge slot by slot, in slices between which calls get their turn."""
    judged = 0
    async for check, count in _in_order(sample.checks):
        for done in range(0, count, _SLICE):
            judged += min(_SLICE, count - done)
            replay.judge(check, min(_SLICE, count - done))
            if judged >= _SLICE:
                judged = 0
                await asyncio.sleep(0)


async def _in_order(checks: Checks) -> AsyncIterator[tuple[RecordedCheck, int]]:
    """Yield checks by time; sorting them all at once would hold up calls."""
    slots: defaultdict[int, list[RecordedCheck]] = defaultdict(list)
    for number, check in enumerate(checks):
        slots[check.at].append(check)
        if number % _SORTED_AT_ONCE == 0:
            await asyncio.sleep(0)
    for at in sorted(slots):
        for check in sorted(slots[at]):
            yield check, checks[check]
