"""What the health service can be told."""

from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from shared.config import RedisSettings

TARGETS = frozenset({"cache", "database", "jobs", "ratelimit", "redis"})


class HealthSettings(RedisSettings):
    """Ports, targets, and when a target counts as broken."""

    postgres_url: SecretStr = Field(description="Required. The PostgreSQL to probe.")
    health_port: int = Field(50054, ge=0, le=65535, description="gRPC port of the health service.")
    health_ops_port: int = Field(
        8054, ge=0, le=65535, description="Operations port of the health service itself."
    )
    health_http_port: int = Field(
        8080, ge=0, le=65535, description="HTTP port of /health, /livez and /readyz."
    )
    health_cache_address: str = Field(
        "127.0.0.1:50051", description="Where the cache service is probed, host:port."
    )
    health_ratelimit_address: str = Field(
        "127.0.0.1:50052", description="Where the rate limit service is probed, host:port."
    )
    health_jobs_address: str = Field(
        "127.0.0.1:50053", description="Where the jobs service is probed, host:port."
    )
    health_probe_interval: float = Field(
        2.0, ge=0.1, le=300, description="Time between two probes of a target, in seconds."
    )
    health_probe_timeout: float = Field(
        1.0,
        gt=0,
        description="Longest wait for one probe, in seconds; at most health_probe_interval.",
    )
    health_probe_rise: int = Field(
        2,
        ge=1,
        le=100,
        description="Probes in a row that must pass to call a target healthy again.",
    )
    health_probe_fall: int = Field(
        3, ge=1, le=100, description="Probes in a row that must fail to call a target unhealthy."
    )
    health_stale_periods: int = Field(
        3,
        ge=3,
        le=100,
        description="Intervals after which the last probe of a target says nothing any more: its "
        "state becomes unknown.",
    )
    health_critical: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"cache", "jobs", "ratelimit"}),
        description="Targets whose failure makes the suite unhealthy, separated by commas; the "
        "failure of any other makes it degraded. Known: cache, database, jobs, ratelimit, redis.",
    )

    @field_validator("health_critical", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("health_critical")
    @classmethod
    def _are_targets(cls, value: frozenset[str]) -> frozenset[str]:
        if unknown := value - TARGETS:
            raise ValueError(
                f"no such target: {', '.join(sorted(unknown))}; known are "
                f"{', '.join(sorted(TARGETS))}"
            )
        return value

    @field_validator("health_probe_timeout")
    @classmethod
    def _fits_interval(cls, value: float, info: ValidationInfo) -> float:
        interval = info.data.get("health_probe_interval")
        if interval is not None and value > interval:
            raise ValueError(f"must not be longer than MAINSTAY_HEALTH_PROBE_INTERVAL ({interval})")
        return value
