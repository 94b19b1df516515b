"""Reservations in Redis: a short record each, which the first who settles it takes away.

A record is JSON: `subject`, `plan`, `at` (microseconds since 1970) and `amounts`, a list of rule,
position and amount.
"""

from collections.abc import Callable

import orjson
import structlog

from services.ratelimit.keys import tenant_key
from services.ratelimit.reservation import ID_BYTES, Held
from services.ratelimit.store_errors import FAILURES, store_error
from shared.redis.client import Redis
from shared.rpc.call import Tenant

log = structlog.get_logger()


class RedisReservations:
    """The `Reservations` of production and of the tests.

    `new_randomness` returns `ID_BYTES` bytes that nobody can guess.
    """

    def __init__(self, redis: Redis, *, new_randomness: Callable[[], bytes]) -> None:
        self._redis = redis
        self._new_randomness = new_randomness

    async def hold(self, tenant: Tenant, held: Held, ttl: int) -> str:
        reservation = self._new_randomness().hex()
        assert len(reservation) == 2 * ID_BYTES, "an id is as long as tokens say"
        key, record = _key(tenant, reservation), _record(held)
        try:
            await self._redis.execute("SET", key, record, "PX", -(-ttl // 1000))
        except FAILURES as error:
            raise store_error(error) from error
        return reservation

    async def settle(self, tenant: Tenant, reservation: str) -> Held | None:
        try:
            record = await self._redis.execute("GETDEL", _key(tenant, reservation))
        except FAILURES as error:
            raise store_error(error) from error
        return None if record is None else _held(record)


def _key(tenant: Tenant, reservation: str) -> str:
    return tenant_key(tenant, f"held:{reservation}")


def _record(held: Held) -> bytes:
    return orjson.dumps(
        {
            "subject": held.subject,
            "plan": held.plan,
            "at": held.consumed_at,
            "amounts": [(*counter, amount) for counter, amount in held.amounts.items()],
        }
    )


def _held(record: bytes) -> Held | None:
    try:
        said = orjson.loads(record)
        return Held(
            subject=said["subject"],
            plan=said["plan"],
            consumed_at=said["at"],
            amounts={(rule, position): amount for rule, position, amount in said["amounts"]},
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        # Another program's, or another version's: nothing is known to be given back.
        log.warning("reservation_unreadable", error=str(error))
        return None
