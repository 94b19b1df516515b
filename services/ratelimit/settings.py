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
    ratelimit_cache_address: str = Field(
        "",
        description="host:port of the cache service, through which plans are looked up; empty: in "
        "PostgreSQL each time.",
    )
    ratelimit_jobs_address: str = Field(
        "",
        description="host:port of the jobs service, whose event membership/updated changes plans; "
        "empty: only AssignPlan does.",
    )
