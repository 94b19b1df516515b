"""Puts together what lets the service decide while Redis is away."""

import time
from functools import partial
from typing import NamedTuple

from services.ratelimit import degraded_metrics
from services.ratelimit.debts import Debts
from services.ratelimit.degrading import DegradingStore
from services.ratelimit.local_counters import LocalCounters
from services.ratelimit.ports import CounterStore
from services.ratelimit.redis_in_background import RedisInBackground
from services.ratelimit.replicas import Replicas
from services.ratelimit.settling import Settling
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from shared.service import Service


class DegradingCounters(NamedTuple):
    """The counters of the service, and who shares them."""

    store: DegradingStore
    replicas: Replicas


def degrading_counters(
    service: Service,
    *,
    redis: Redis,
    clock: StoreClock,
    store: CounterStore,
    replica: str,
    expected_replicas: int = 1,
) -> DegradingCounters:
    """Return `store` as one that goes on deciding, and let the service keep all that it needs.

    The service starts Redis and sets the clock itself: neither is to be among its resources. What
    else needs Redis at its start has to come without it. `replica` is a name that no other process
    has or had.
    """
    local = LocalCounters(on_drop=degraded_metrics.local_dropped.inc)
    debts = Debts(replica=replica, on_forget=lambda _: degraded_metrics.forgotten.inc())
    replicas = Replicas(
        redis, replica=replica, owes=lambda: bool(debts), expected=expected_replicas
    )
    service.use(RedisInBackground(redis, then=(clock.run_once, replicas.beat)))
    settling = Settling(
        store,
        local,
        debts,
        now_us=clock.now_us,
        connected=lambda: redis.connected,
        settling=lambda: replicas.settling,
        report=partial(service.report_condition, "counters"),
    )
    service.background("ratelimit-clock", clock.run)
    service.background("ratelimit-replicas", replicas.run)
    service.background("ratelimit-settling", settling.run)
    degrading = DegradingStore(
        store,
        local,
        debts,
        now_us=clock.now_us,
        seconds=time.monotonic,
        replicas=lambda: replicas.count,
        settling=lambda: replicas.settling,
    )
    return DegradingCounters(degrading, replicas)
