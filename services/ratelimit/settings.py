"""The settings of the rate limit service, read from the environment (`MAINSTAY_RATELIMIT_...`)."""

from pydantic import Field

from shared.config import RedisSettings


class RateLimitSettings(RedisSettings):
    """What the rate limit service needs beside the settings that all services share."""

    ratelimit_port: int = Field(
        50052, ge=0, le=65535, description="Port of the rate limit service; 0 takes a free one."
    )
    ratelimit_ops_port: int = Field(
        8052,
        ge=0,
        le=65535,
        description="Port of the rate limits' /livez, /readyz and /metrics; 0 takes a free one.",
    )
