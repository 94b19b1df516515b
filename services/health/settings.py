"""What the health service can be told."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from services.health.addresses import parse_addresses
from services.health.groups import check_groups, parse_groups
from services.health.naming import CERTIFICATE, DISK, parse_named, target_names
from services.health.webhook_options import parse_secrets, parse_urls
from shared.config import RedisSettings


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
    health_agent_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of HAProxy's agent checks, such as 8090; unset opens none.",
    )
    health_drain_status: Literal[503, 404] = Field(
        503,
        description="HTTP status of what drains: 503, or 404 where HAProxy polls with "
        "disable-on-404.",
    )
    health_details_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Who sends it as `Authorization: Bearer` sees messages, addresses of replicas "
        "and request ids in the HTTP documents; unset shows them to everybody on this machine.",
    )
    health_cache_address: str = Field(
        "127.0.0.1:50051",
        description="Where the replicas of the cache service are probed: host:port, several "
        "separated by commas. Behind a host name, every address that it has is one.",
    )
    health_ratelimit_address: str = Field(
        "127.0.0.1:50052",
        description="Where the replicas of the rate limit service are probed: host:port, several "
        "separated by commas. Behind a host name, every address that it has is one.",
    )
    health_jobs_address: str = Field(
        "127.0.0.1:50053",
        description="Where the replicas of the jobs service are probed: host:port, several "
        "separated by commas. Behind a host name, every address that it has is one.",
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
    health_resolve_interval: float = Field(
        10.0,
        ge=1,
        le=3600,
        description="Time between two look-ups of the host names of services, in seconds.",
    )
    health_max_replication_lag: float | None = Field(
        None,
        gt=0,
        description="Seconds that a standby of the database may be behind; unset watches none. Its "
        "role needs pg_monitor.",
    )
    health_disk_paths: str = Field(
        ".",
        description="A path on each volume to watch; of several each has a name, such as "
        "data=/srv,logs=/var/log. Empty watches none.",
    )
    health_disk_low: float = Field(
        0.1, ge=0, le=1, description="Free share of a volume below which it needs care."
    )
    health_disk_full: float = Field(
        0.03, ge=0, le=1, description="Free share of a volume below which it is unhealthy."
    )
    health_certificates: str = Field(
        "",
        description="Certificates to watch, PEM files or host:port of TLS endpoints; of several "
        "each has a name, such as api=/tls/api.pem,edge=edge.internal:443.",
    )
    health_certificate_days: int = Field(
        21, ge=0, le=3650, description="Days before its end from which a certificate needs care."
    )
    health_max_queue_age: float = Field(
        300.0, gt=0, description="Seconds that a job which could start may wait for a worker."
    )
    health_min_workers: int = Field(
        0, ge=0, le=1_000_000, description="Workers that should be connected; 0 watches none."
    )
    health_critical: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"cache", "jobs", "ratelimit"}),
        description="Targets whose failure makes the suite unhealthy, separated by commas; the "
        "failure of any other makes it degraded. Known: cache, database, jobs, queue, ratelimit, "
        "redis, and what is watched beside them: disk, certificate, replication, workers.",
    )
    health_groups: Annotated[Mapping[str, frozenset[str]], NoDecode] = Field(
        {},
        description="Names for sets of targets that balancers may ask about, such as "
        "edge=cache+ratelimit,background=jobs+database.",
    )
    health_floor: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a service's replicas that have to look fit; when fewer do, balancers "
        "are told that each of them is ready, since the fault is rarely theirs.",
    )
    health_instance: str = Field(
        "",
        max_length=200,
        description="The name of this instance in the history; empty takes the host's name. Two "
        "instances need two names, and each should keep its own.",
    )
    health_webhook_secret: SecretStr | None = Field(
        None,
        description="Signs webhooks by the Standard Webhooks specification: whsec_ and base64 of "
        "24 to 64 bytes. Two, separated by a comma, while receivers change over.",
    )
    health_webhook_urls: SecretStr | None = Field(
        None,
        description="Whom to tell of changes of state, http:// or https://, several separated by "
        "commas; unset tells nobody.",
    )
    health_webhook_debounce: float = Field(
        10.0,
        ge=1,
        le=3600,
        description="How long a state has to last before webhooks tell of it, in seconds.",
    )

    @field_validator("health_critical", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("health_critical")
    @classmethod
    def _are_targets(cls, value: frozenset[str], info: ValidationInfo) -> frozenset[str]:
        known = target_names(info.data)
        if unknown := value - known:
            raise ValueError(
                f"no such target: {', '.join(sorted(unknown))}; known are "
                f"{', '.join(sorted(known))}"
            )
        return value

    @field_validator("health_cache_address", "health_jobs_address", "health_ratelimit_address")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        parse_addresses(value)
        return value

    @field_validator("health_disk_paths")
    @classmethod
    def _are_paths(cls, value: str) -> str:
        parse_named(value, DISK)
        return value

    @field_validator("health_certificates")
    @classmethod
    def _are_certificates(cls, value: str) -> str:
        parse_named(value, CERTIFICATE)
        return value

    @field_validator("health_groups", mode="before")
    @classmethod
    def _split_groups(cls, value: object) -> object:
        return parse_groups(value) if isinstance(value, str) else value

    @field_validator("health_groups")
    @classmethod
    def _groups_have_sense(
        cls, groups: Mapping[str, frozenset[str]], info: ValidationInfo
    ) -> Mapping[str, frozenset[str]]:
        check_groups(groups, targets=target_names(info.data))
        return groups

    @field_validator("health_drain_status", mode="before")
    @classmethod
    def _as_number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("health_webhook_secret")
    @classmethod
    def _are_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_secrets(value.get_secret_value())
        return value

    @field_validator("health_webhook_urls")
    @classmethod
    def _are_urls(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        urls = parse_urls(value.get_secret_value()) if value is not None else ()
        secret = info.data.get("health_webhook_secret", "refused already")
        if urls and not secret:
            raise ValueError("needs MAINSTAY_HEALTH_WEBHOOK_SECRET, so that receivers can tell")
        return value

    @field_validator("health_probe_timeout")
    @classmethod
    def _fits_interval(cls, value: float, info: ValidationInfo) -> float:
        interval = info.data.get("health_probe_interval")
        if interval is not None and value > interval:
            raise ValueError(f"must not be longer than MAINSTAY_HEALTH_PROBE_INTERVAL ({interval})")
        return value
