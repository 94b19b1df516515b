"""The settings of the cache service, read from the environment (`MAINSTAY_CACHE_...`)."""

from pydantic import Field

from shared.config import RedisSettings

_MIB = 1024 * 1024


class CacheSettings(RedisSettings):
    """What the cache service needs beside the settings that all services share."""

    cache_port: int = Field(
        50051, ge=0, le=65535, description="Port of the cache service; 0 takes a free one."
    )
    cache_ops_port: int = Field(
        8051,
        ge=0,
        le=65535,
        description="Port of the cache's /livez, /readyz and /metrics; 0 takes a free one.",
    )
    cache_max_value_bytes: int = Field(
        _MIB,
        ge=1,
        le=3 * _MIB,
        description="The largest value an entry may hold, in bytes; a message carries 4 MiB.",
    )
    cache_max_batch_bytes: int = Field(
        4 * _MIB,
        ge=64 * 1024,
        le=4 * _MIB,
        description="The largest answer to one BatchGet, in bytes; clients accept 4 MiB.",
    )
