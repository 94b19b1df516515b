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
    cache_max_collection_bytes: int = Field(
        16 * _MIB,
        ge=64 * 1024,
        le=256 * _MIB,
        description="The most a list or a set may count for, in bytes, with what each item costs.",
    )
    cache_statistics_interval: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Seconds between two flushes of what a process counted; GetStats on another "
        "one lags by so much.",
    )
    cache_sweep_keys_per_second: int = Field(
        2000,
        ge=10,
        le=1_000_000,
        description="Keys that the sweeper looks at each second for entries that were invalidated.",
    )
