"""Leases in Redis: one sorted set for the places of a subject, changed by one script at a time.

Time is Redis's own, so that replicas of this service with different clocks agree.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mainstay.errors import UnavailableError
from services.ratelimit.concurrency import CLEARED, MAX_TTL
from services.ratelimit.keys import counter_key
from services.ratelimit.lending_ports import Acquired, Holder, LeaseName
from services.ratelimit.ports import Charge
from services.ratelimit.store_errors import FAILURES, store_error
from services.ratelimit.verdict import Verdict
from shared.redis.client import Redis, Script
from shared.redis.link import Argument

_ACQUIRE, _RENEW, _RELEASE, _ADOPT = (
    Script.load("services.ratelimit", "lua/leases.lua", f"lua/{name}.lua")
    for name in ("acquire", "renew", "release", "adopt")
)
_SERVER_TIME = ""
_LOOK = b""
_ADOPTED_AT_ONCE = 100


class RedisLeases:
    """The `Leases` of production and of the tests, for as long as Redis is there.

    `clock` replaces Redis's clock in tests of histories; it returns microseconds since 1970.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], int] | None = None) -> None:
        self._redis = redis
        self._clock = clock

    async def look(self, charge: Charge) -> Verdict:
        return (await self._ask(charge, _LOOK, 0)).verdict

    async def acquire(self, charge: Charge, lease: bytes, ttl: int) -> Acquired:
        return await self._ask(charge, lease, ttl)

    async def renew(self, name: LeaseName, ttl: int) -> int | None:
        return await self._run(_RENEW, name.holder, (name.lease, ttl)) or None

    async def release(self, name: LeaseName) -> bool:
        released: int = await self._run(_RELEASE, name.holder, (name.lease,))
        return released == 1

    def abandon(self, name: LeaseName) -> None:
        with suppress(UnavailableError):
            # As text: of a Redis that does not know the script nobody would hear so.
            args = (1, _key(name.holder), self._now(), name.lease)
            released = self._redis.send("EVAL", _RELEASE.text, *args)
            # Nobody is left to be told; what stays behind ends by itself.
            released.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def adopt(self, holder: Holder, ends: Mapping[bytes, int]) -> None:
        """Keep leases that were granted without asking here, however many places there are."""
        facts = [fact for lease in ends.items() for fact in lease]
        for first in range(0, len(facts), 2 * _ADOPTED_AT_ONCE):
            await self._run(_ADOPT, holder, facts[first : first + 2 * _ADOPTED_AT_ONCE])

    async def _ask(self, charge: Charge, lease: bytes, ttl: int) -> Acquired:
        holder = Holder(charge.tenant, charge.rule.name, charge.subject)
        args = (charge.limit.quota, charge.cost, lease, ttl, MAX_TTL, CLEARED)
        admits, now, used, reset_at, retry_at, expires_at = await self._run(_ACQUIRE, holder, args)
        verdict = Verdict(
            admits=admits == 1,
            now=now,
            used=used,
            reset_at=reset_at,
            retry_at=retry_at if retry_at > 0 else None,
        )
        return Acquired(verdict, expires_at or None)

    async def _run(self, script: Script, holder: Holder, args: Sequence[Argument]) -> Any:
        try:
            return await self._redis.run_script(script, [_key(holder)], (self._now(), *args))
        except FAILURES as error:
            raise store_error(error) from error

    def _now(self) -> Argument:
        return self._clock() if self._clock else _SERVER_TIME


def _key(holder: Holder) -> str:
    # A concurrency rule has one limit.
    return counter_key(tenant=holder.tenant, rule=holder.rule, position=0, subject=holder.subject)
