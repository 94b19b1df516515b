"""Counters in Redis: one short string each, decided and consumed by one script in one round trip.

Time is Redis's own, so that replicas of this service with different clocks agree. The rules stand
in `sliding_window`, `gcra` and `fixed_window`; the scripts in `lua/` do the same.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from services.ratelimit.counter_calls import ScriptCall, charges_call, checks_call
from services.ratelimit.counter_scripts import (
    ScriptOf,
    Wordings,
    charge_script,
    decide_script,
    follows_calendar,
    refund_script,
)
from services.ratelimit.keys import counter_key, once_key
from services.ratelimit.limit_grammar import MAX_LIMITS
from services.ratelimit.policy import DAY, Rule
from services.ratelimit.ports import Charge, Refunded
from services.ratelimit.store_errors import FAILURES, store_error
from services.ratelimit.verdict import Verdict
from shared.redis.client import Redis
from shared.rpc.call import Tenant

CHUNK = 100
"""Charges that one script decides: Redis does nothing else meanwhile, for half a millisecond."""

MARKED_MS = 86_400_000
"""How long it is remembered that something was carried out."""

_ATTEMPTS = 3
_LONG_AGO = 400 * DAY
_SERVER_TIME = ""
_OTHER_WINDOW, _MARK_FOUND = 1, 2  # lengths of a reply

Check = Sequence[Charge]


class RedisCounterStore:
    """The `CounterStore` of production and of the tests: there is no other.

    No two charges of one check, charge or refund are on the same counter. `clock` replaces Redis's
    clock in tests of histories; it returns microseconds since 1970.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], int] | None = None) -> None:
        self._redis = redis
        self._clock = clock
        self._wordings = Wordings()
        # Redis's clock when a calendar's window last turned out to be another.
        self._last_turn = _LONG_AGO

    async def decide(self, charges: Check, *, consume: bool) -> Sequence[Verdict]:
        (verdicts,) = await self._decide_chunk([charges], consume=consume)
        return verdicts

    async def decide_each(
        self, checks: Sequence[Check], *, consume: bool
    ) -> Sequence[Sequence[Verdict]]:
        chunks = _chunked(checks)
        if len(chunks) == 1:
            return await self._decide_chunk(chunks[0], consume=consume)
        # All of them leave together: each has sent its script before any has an answer.
        told = await asyncio.gather(
            *(self._decide_chunk(chunk, consume=consume) for chunk in chunks),
            return_exceptions=True,
        )
        return [verdicts for answer in told for verdicts in _or_raised(answer)]

    async def charge(self, charges: Check, *, once: str = "") -> Sequence[Verdict] | None:
        if not charges:
            return []
        mark, life = _mark(charges, "charge", once)

        def call(now: int) -> ScriptCall:
            return charges_call(self._wordings, charges, mark=mark, options=[life], now=now)

        reply = await self._run(charge_script, call)
        if len(reply) == _MARK_FOUND:
            return None
        return _verdicts(reply, 1, len(charges))

    async def refund(self, charges: Check, *, admitted_at: int | None, once: str = "") -> Refunded:
        if not charges:
            return Refunded((), ())
        mark, life = _mark(charges, "refund", once)
        options = [life, "" if admitted_at is None else admitted_at]

        def call(now: int) -> ScriptCall:
            return charges_call(self._wordings, charges, mark=mark, options=options, now=now)

        now, repeated, *states = await self._run(refund_script, call)
        return Refunded(
            amounts=states[::4],
            verdicts=[_verdict(now, *states[at + 1 : at + 4]) for at in range(0, len(states), 4)],
            repeated=repeated == 1,
        )

    async def reset(self, tenant: Tenant, rules: Sequence[Rule], subject: str) -> Sequence[str]:
        commands = [("UNLINK", *_every_key(tenant, rule, subject)) for rule in rules]
        removed = map(_or_raised, await self._redis.execute_many(commands))
        return [rule.name for rule, number in zip(rules, removed, strict=True) if number]

    async def _decide_chunk(self, checks: Sequence[Check], *, consume: bool) -> list[list[Verdict]]:
        if not any(checks):
            return [[] for _ in checks]

        def call(now: int) -> ScriptCall:
            return checks_call(self._wordings, checks, consume=consume, now=now)

        reply = await self._run(decide_script, call)
        told, at = [], 1
        for check in checks:
            told.append(_verdicts(reply, at, len(check)))
            at += 3 * len(check)
        return told

    async def _run(self, script_of: ScriptOf, call_at: Callable[[int], ScriptCall]) -> Any:
        """Run a script, anew when the windows of its calendars were not those that run now."""
        now = self._clock() if self._clock else self._last_turn
        for _ in range(_ATTEMPTS):
            keys, args, parts, begin, end = call_at(now)
            time: str | int = now if self._clock else _SERVER_TIME
            if follows_calendar(parts):
                time = f"{time} {begin} {end}"
            try:
                reply = await self._redis.run_script(script_of(parts), keys, [time, *args])
            except FAILURES as error:
                raise store_error(error) from error
            if len(reply) != _OTHER_WINDOW:
                return reply
            now = self._last_turn = reply[0]
        raise AssertionError("Redis's clock leaps from one calendar window to another")


def _chunked(checks: Sequence[Check]) -> list[list[Check]]:
    chunks: list[list[Check]] = [[]]
    size = 0
    for check in checks:
        if size + len(check) > CHUNK and chunks[-1]:
            chunks.append([])
            size = 0
        chunks[-1].append(check)
        size += len(check)
    return chunks


def _mark(charges: Check, act: str, once: str) -> tuple[str, str | int]:
    """Return where it is marked that an act was carried out, and for how long."""
    return (once_key(charges[0].tenant, act, once), MARKED_MS) if once else ("", "")


def _every_key(tenant: Tenant, rule: Rule, subject: str) -> list[str]:
    return [
        counter_key(tenant=tenant, rule=rule.name, position=position, subject=subject)
        for position in range(MAX_LIMITS)
    ]


def _verdicts(reply: Sequence[int], first: int, count: int) -> list[Verdict]:
    now = reply[0]
    return [
        _verdict(now, reply[at], reply[at + 1], reply[at + 2])
        for at in range(first, first + 3 * count, 3)
    ]


def _verdict(now: int, retry_at: int, used: int, reset_at: int) -> Verdict:
    return Verdict(retry_at == 0, now, used, reset_at, retry_at if retry_at > 0 else None)


def _or_raised(answer: Any) -> Any:
    if isinstance(answer, FAILURES):
        raise store_error(answer) from answer
    if isinstance(answer, BaseException):
        raise answer
    return answer
