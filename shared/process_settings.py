"""How one process runs: its stores, its limits, its logs and traces."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sentry_sdk.utils import BadDsn, Dsn

from shared.redis.seeds import seed_urls

PREFIX = "MAINSTAY_"
_SCHEMES = {
    "redis_url": ("redis://", "rediss://", "unix://"),
    "postgres_url": ("postgresql://", "postgres://"),
}


class ProcessSettings(BaseSettings):
    """What has nothing to do with who calls."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        # JSON in a variable would fail before validation, and alone: not with the other mistakes.
        enable_decoding=False,
    )

    environment: Literal["development", "production"] = Field(
        "development", description="Where this runs; part of every log line and span."
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that share a service's gRPC port. The HTTP ports of the second are "
        "100 higher, and so on.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="redis://[user:password@]host:port/db, or rediss:// for TLS; several nodes of "
        "a Redis Cluster separated by commas.",
    )
    redis_timeout: float = Field(
        0.25, gt=0, le=10, description="Longest wait for one Redis command, in seconds."
    )
    postgres_url: SecretStr | None = Field(
        None, description="postgresql://user:password@host:port/database?sslmode=require."
    )
    postgres_pool_size: int = Field(
        10, ge=1, le=200, description="Most PostgreSQL connections of one process."
    )
    postgres_migrate: bool = Field(
        True,
        description="Apply pending migrations at start. Off where a role without DDL rights runs.",
    )
    policies_dir: Path = Field(
        Path("policies"), description="Folder of cache.yaml, ratelimit.yaml and events/."
    )
    max_concurrent_calls: int = Field(
        512, ge=1, description="Calls handled at the same time; more are shed with UNAVAILABLE."
    )
    shutdown_grace: float = Field(
        10.0, ge=0, le=600, description="Longest wait for calls in flight at shutdown, in seconds."
    )
    shutdown_delay: float = Field(
        0.0,
        ge=0,
        le=120,
        description="Time between 'not serving' and refusing calls, for load balancers to notice, "
        "in seconds.",
    )
    log_level: Literal["fatal", "error", "warning", "info", "debug", "trace"] = Field(
        "info", description="The least level that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json, console for people, or auto: console in a terminal."
    )
    log_successes_per_second: int = Field(
        100,
        ge=0,
        le=1_000_000,
        description="Lines about calls that ended well, per second, method and process; beyond it "
        "one call in 100 has a line, which says for how many it stands.",
    )
    request_log: bool = Field(
        True,
        description="Keep the log of calls, and their performance by the minute, in PostgreSQL, "
        "where MAINSTAY_POSTGRES_URL is set.",
    )
    otlp_endpoint: str | None = Field(
        None, description="Where to send traces over OTLP/HTTP, such as http://collector:4318."
    )
    trace_file: Path | None = Field(
        None, description="Append spans to this file, one JSON line each. For development."
    )
    trace_sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of traces begun here that are recorded."
    )
    sentry_dsn: SecretStr | None = Field(
        None, description="Where to report unexpected errors; unset reports none."
    )
    sentry_traces_sample_ratio: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of traces whose calls go to Sentry as transactions, where there is a "
        "DSN; at most 10 a second of one process.",
    )

    @field_validator("redis_url", "postgres_url", check_fields=False)
    @classmethod
    def _is_url(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if url is None:
            return None
        schemes = _SCHEMES[info.field_name or ""]
        value = url.get_secret_value()
        urls = seed_urls(value) if info.field_name == "redis_url" else [value]
        if not all(each.startswith(schemes) for each in urls):
            raise ValueError(f"should begin with {' or '.join(schemes)}")
        try:
            _ = [urlsplit(each).port for each in urls]
        except ValueError:
            # Without the reason: it quotes what stands where the port should, perhaps a password.
            raise ValueError(
                "is not a URL; write characters of the password that have a meaning in URLs as "
                "%-escapes"
            ) from None
        return url

    @field_validator("sentry_dsn")
    @classmethod
    def _is_dsn(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn is not None:
            try:
                Dsn(dsn.get_secret_value())
            except BadDsn:
                raise ValueError("is not a Sentry DSN such as https://key@host/1") from None
        return dsn
