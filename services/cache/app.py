"""The composition root of the cache: the only module that knows all its parts."""

import random
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from services.cache import channels, metrics
from services.cache.cache import Cache
from services.cache.collecting import Collections
from services.cache.computing import Computing
from services.cache.copies import Copies
from services.cache.counters import Counters
from services.cache.filling import Filling
from services.cache.histories import RedisHistories
from services.cache.inspection import Administration
from services.cache.invalidation import Invalidation
from services.cache.lease import RANDOM_BYTES
from services.cache.lists import Lists
from services.cache.metrics import PrometheusStatistics
from services.cache.policies import PolicyFile
from services.cache.postgres_statistics import MIGRATIONS, PostgresStatistics
from services.cache.publishing import StatisticsPublisher
from services.cache.reading import RedisReader
from services.cache.recency import Recency
from services.cache.recollection import Recollection
from services.cache.redis_collections import RedisCollections
from services.cache.redis_leases import RedisLeases
from services.cache.redis_log import RedisLog
from services.cache.redis_probe import RedisProbe
from services.cache.redis_statistics import RedisStatistics
from services.cache.redis_store import RedisEntryStore
from services.cache.redis_sweep import RedisSweep
from services.cache.redis_usage import Usage
from services.cache.servicer import METHODS, CacheServicer
from services.cache.sets import Sets
from services.cache.settings import CacheSettings
from services.cache.settlements import Settlements
from services.cache.statistics import CacheStatistics
from services.cache.sweeper import Sweeper
from services.cache.waiters import Waiters
from services.cache.watching import Watching
from shared.postgres.pool import Postgres
from shared.redis.client import Redis
from shared.redis.clock import StoreClock
from shared.redis.subscription import Subscription
from shared.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class _Books:
    """What every part of the service shares."""

    redis: Redis
    clock: StoreClock
    policies: PolicyFile
    log: RedisLog
    histories: RedisHistories
    store: RedisEntryStore
    reader: RedisReader
    usage: Usage
    statistics: CacheStatistics
    recollection: Recollection


class _ItemLimits(TypedDict):
    max_push_bytes: int
    max_answer_bytes: int
    max_bytes: int


def build(settings: CacheSettings) -> Service:
    """Return the service, not yet started; a wrong policy file raises ConfigurationError."""
    service = Service("cache", settings, port=settings.cache_port, ops_port=settings.cache_ops_port)
    policies = PolicyFile(
        settings.policies_dir / "cache.yaml", report=partial(service.report_condition, "policy")
    )
    service.background("cache-policy", policies.watch)
    books = _books(service, settings, policies)
    waiters = Waiters()
    service.on_drain(waiters.drain)
    metrics.waiters.set_function(waiters.__len__)
    _sweep(service, settings, books)
    watching = service.use(Watching(books.log, books.clock.now_ms))
    service.on_drain(watching.drain)
    _listen(service, settings, waiters, watching)
    invalidation = Invalidation(
        store=books.store, log=books.histories, charge=books.usage, policies=policies
    )
    computing, filling = _computing(books, settings, waiters)
    collections, items = _collections(books, settings)
    servicer = CacheServicer(
        cache=_cache(books, settings, invalidation),
        computing=computing,
        filling=filling,
        counters=Counters(collections, items),
        lists=Lists(collections, items, **_item_limits(settings)),
        sets=Sets(collections, items, **_item_limits(settings)),
        invalidation=invalidation,
        watching=watching,
        administration=_administration(service, settings, books),
        copies=Copies(policies, books.clock.now_ms),
    )
    service.expose(pb_grpc.add_CacheServiceServicer_to_server, servicer, methods=METHODS)
    return service


def _books(service: Service, settings: CacheSettings, policies: PolicyFile) -> _Books:
    redis = service.use(
        Redis(settings.redis_url.get_secret_value(), timeout=settings.redis_timeout)
    )
    clock = service.use(StoreClock(redis))
    service.background("cache-clock", clock.run)
    log = RedisLog(redis, new_epoch=_new_epoch)
    histories = service.use(RedisHistories(log))
    recollection = Recollection()
    store = RedisEntryStore(redis, now_ms=clock.now_ms, new_version=_new_version)
    usage = Usage(
        redis,
        policies=policies,
        store=store,
        key_log=histories,
        settlements=Settlements(redis, policies),
        recency=Recency(redis, clock.now_ms),
    )
    service.background("cache-usage", usage.run)
    return _Books(
        redis=redis,
        clock=clock,
        policies=policies,
        log=log,
        histories=histories,
        store=store,
        reader=RedisReader(redis, histories, recollection, clock.now_ms),
        usage=usage,
        statistics=CacheStatistics(),
        recollection=recollection,
    )


def _listen(
    service: Service, settings: CacheSettings, waiters: Waiters, watching: Watching
) -> None:
    """Hear what other replicas did; all of it could be missed without harm but to delays."""

    def on_message(channel: bytes, payload: bytes) -> None:
        if channel == channels.WAKE:
            waiters.wake(payload)
        else:
            watching.hear(payload)

    def on_gap() -> None:
        waiters.wake_all()
        watching.look()

    service.use(
        Subscription(
            settings.redis_url.get_secret_value(),
            (channels.WAKE.decode(), channels.INVALIDATED.decode()),
            on_message=on_message,
            on_gap=on_gap,
            # Nobody is held in vain: who waits asks again, and is told if the store is gone.
            on_loss=on_gap,
            timeout=settings.redis_timeout,
        )
    )


def _sweep(service: Service, settings: CacheSettings, books: _Books) -> None:
    sweeper = Sweeper(
        RedisSweep(books.redis),
        books.histories,
        books.usage,
        owner=secrets.token_hex(8),
        keys_per_second=settings.cache_sweep_keys_per_second,
    )
    service.background("cache-sweeper", sweeper.run)


def _cache(books: _Books, settings: CacheSettings, invalidation: Invalidation) -> Cache:
    return Cache(
        reader=books.reader,
        store=books.store,
        histories=books.histories,
        invalidation=invalidation,
        key_log=books.histories,
        charge=books.usage,
        statistics=books.statistics,
        policies=books.policies,
        recollection=books.recollection,
        now_ms=books.clock.now_ms,
        new_version=_new_version,
        chance=random.random,
        max_value_bytes=settings.cache_max_value_bytes,
        max_batch_bytes=settings.cache_max_batch_bytes,
    )


def _computing(
    books: _Books, settings: CacheSettings, waiters: Waiters
) -> tuple[Computing, Filling]:
    leases = RedisLeases(books.redis)
    computing = Computing(
        reader=books.reader,
        leases=leases,
        waiters=waiters,
        histories=books.histories,
        charge=books.usage,
        statistics=books.statistics,
        policies=books.policies,
        recollection=books.recollection,
        now_ms=books.clock.now_ms,
        chance=random.random,
        new_randomness=_new_randomness,
    )
    filling = Filling(
        reader=books.reader,
        store=books.store,
        leases=leases,
        histories=books.histories,
        key_log=books.histories,
        charge=books.usage,
        statistics=books.statistics,
        policies=books.policies,
        recollection=books.recollection,
        now_ms=books.clock.now_ms,
        new_version=_new_version,
        chance=random.random,
        max_value_bytes=settings.cache_max_value_bytes,
    )
    return computing, filling


def _collections(books: _Books, settings: CacheSettings) -> tuple[Collections, RedisCollections]:
    collections = Collections(
        reader=books.reader,
        histories=books.histories,
        charge=books.usage,
        key_log=books.histories,
        statistics=books.statistics,
        policies=books.policies,
        now_ms=books.clock.now_ms,
        new_version=_new_version,
        chance=random.random,
    )
    return collections, RedisCollections(books.redis, max_bytes=settings.cache_max_collection_bytes)


def _item_limits(settings: CacheSettings) -> _ItemLimits:
    return _ItemLimits(
        max_push_bytes=settings.cache_max_value_bytes,
        max_answer_bytes=settings.cache_max_batch_bytes,
        max_bytes=settings.cache_max_collection_bytes,
    )


def _administration(service: Service, settings: CacheSettings, books: _Books) -> Administration:
    kept = _history(service, settings, books)
    takers = [PrometheusStatistics().add, *([kept.add] if kept is not None else [])]
    shared = RedisStatistics(books.redis, books.clock.now_ms, replica=secrets.token_hex(8))
    publisher = StatisticsPublisher(
        books.statistics, shared, takers, interval=settings.cache_statistics_interval
    )
    service.background("cache-statistics", publisher.run)
    return Administration(
        probe=RedisProbe(books.redis),
        histories=books.histories,
        recollection=books.recollection,
        statistics=publisher,
        quotas=books.usage,
        policies=books.policies,
        now_ms=books.clock.now_ms,
    )


def _history(service: Service, settings: CacheSettings, books: _Books) -> PostgresStatistics | None:
    """Keep statistics in PostgreSQL if there is one; nothing else needs it."""
    if settings.postgres_url is None:
        return None
    postgres = Postgres(
        settings.postgres_url.get_secret_value(),
        migrations=MIGRATIONS,
        migrate=settings.postgres_migrate,
        max_size=1,
    )
    kept = service.use(PostgresStatistics(postgres, books.clock.now_ms))
    service.background("cache-statistics-history", kept.run)
    return kept


def _new_version() -> int:
    # Random, because replicas share no counter: two writes of one entry meet once in 2^64.
    return secrets.randbits(64)


def _new_epoch() -> str:
    return secrets.token_hex(8)


def _new_randomness() -> bytes:
    return secrets.token_bytes(RANDOM_BYTES)
