"""The composition root of the cache: the only module that knows all its parts."""

import secrets
import time

from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from services.cache.cache import Cache
from services.cache.metrics import PrometheusReads
from services.cache.policy_file import load_policy
from services.cache.redis_store import RedisEntryStore
from services.cache.servicer import METHODS, CacheServicer
from services.cache.settings import CacheSettings
from shared.redis.client import Redis
from shared.service import Service


def build(settings: CacheSettings) -> Service:
    """Return the service, not yet started; a wrong policy file raises ConfigurationError."""
    policy = load_policy(settings.policies_dir / "cache.yaml")
    service = Service("cache", settings, port=settings.cache_port, ops_port=settings.cache_ops_port)
    redis = service.use(
        Redis(settings.redis_url.get_secret_value(), timeout=settings.redis_timeout)
    )
    cache = Cache(
        store=RedisEntryStore(redis),
        policy=policy,
        reads=PrometheusReads(),
        now_ms=_now_ms,
        new_version=_new_version,
        max_value_bytes=settings.cache_max_value_bytes,
        max_batch_bytes=settings.cache_max_batch_bytes,
    )
    service.expose(
        pb_grpc.add_CacheServiceServicer_to_server, CacheServicer(cache), methods=METHODS
    )
    return service


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_version() -> int:
    # Random, because replicas share no counter: two writes of one entry meet once in 2^64.
    return secrets.randbits(64)
