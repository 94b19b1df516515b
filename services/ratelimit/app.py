"""The composition root of the rate limits: the only module that knows all their parts."""

from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit.limiter import Limiter
from services.ratelimit.metrics import DecisionCounter
from services.ratelimit.policy_file import load_policy
from services.ratelimit.redis_store import RedisCounterStore
from services.ratelimit.servicer import METHODS, RateLimitServicer
from services.ratelimit.settings import RateLimitSettings
from shared.redis.client import Redis
from shared.service import Service


def build(settings: RateLimitSettings) -> Service:
    """Return the service, not yet started; a wrong policy file raises ConfigurationError."""
    policy = load_policy(settings.policies_dir / "ratelimit.yaml")
    service = Service(
        "ratelimit",
        settings,
        port=settings.ratelimit_port,
        ops_port=settings.ratelimit_ops_port,
    )
    redis = service.use(
        Redis(settings.redis_url.get_secret_value(), timeout=settings.redis_timeout)
    )
    limiter = Limiter(
        policy=policy, store=RedisCounterStore(redis), observer=DecisionCounter(policy.rules)
    )
    service.expose(
        pb_grpc.add_RateLimitServiceServicer_to_server,
        RateLimitServicer(limiter),
        methods=METHODS,
    )
    return service
