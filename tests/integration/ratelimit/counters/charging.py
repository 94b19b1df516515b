"""Limits of every algorithm, and charges on them."""

from services.ratelimit.keys import counter_key
from services.ratelimit.policy import DAY, SECOND, Algorithm, Calendar, Limit, Rule
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import RedisCounterStore
from services.ratelimit.sliding_window import bucket_width
from shared.rpc.call import Tenant

WINDOW = 60 * SECOND
WIDTH = bucket_width(WINDOW)
START = 1_700_000_000 * WIDTH
LONG = 3_600 * SECOND

SLIDING = Limit(quota=10, window=LONG)
GCRA = Limit(quota=10, window=LONG, algorithm=Algorithm.GCRA)
FIXED = Limit(quota=10, window=186 * DAY, algorithm=Algorithm.FIXED_WINDOW)
MONTH = Limit(
    quota=10,
    window=30 * DAY,
    algorithm=Algorithm.FIXED_WINDOW,
    calendar=Calendar.MONTH,
    time_zone="Europe/Berlin",
)
COUNTED = [SLIDING, GCRA, FIXED, MONTH]


class Clock:
    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def per_minute(quota: int = 10) -> Limit:
    return Limit(quota=quota, window=WINDOW)


def charge_of(
    limit: Limit | None = None,
    cost: int = 1,
    *,
    tenant: str = "acme",
    rule: str = "ai_chat",
    position: int = 0,
    subject: str = "user:42",
    shadow: bool = False,
) -> Charge:
    of = Rule(name=rule, endpoints=(), default=(), shadow=shadow)
    return Charge(Tenant(tenant), of, position, subject, limit or per_minute(), cost)


def key_of(charge: Charge) -> str:
    return counter_key(
        tenant=charge.tenant,
        rule=charge.rule.name,
        position=charge.position,
        subject=charge.subject,
    )


KEY = key_of(charge_of())


async def admits(store: RedisCounterStore, *charges: Charge) -> list[bool]:
    return [verdict.admits for verdict in await store.decide(charges, consume=True)]


def name_of(limit: Limit) -> str:
    return f"{limit.algorithm.value}{limit.calendar or ''}"
