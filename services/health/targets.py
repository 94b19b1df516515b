"""What is probed with given settings, what it needs, and how it is asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from mainstay.credentials import Credentials, is_local
from services.health.addresses import Address, parse_address, parse_addresses
from services.health.naming import CERTIFICATE, DISK, parse_named
from services.health.ports import Probe
from services.health.probe_certificate import CertificateProbe, Read, of_endpoint, of_file
from services.health.probe_disk import DiskProbe
from services.health.probe_jobs import QueueProbe, WorkersProbe
from services.health.probe_postgres import PostgresProbe, ReplicationProbe
from services.health.probe_redis import RedisProbe
from services.health.settings import HealthSettings
from services.health.target import Kind, Target
from shared.outgoing import credentials_to

# What each cannot do without, and what it uses where it can.
_SERVICES = {
    "cache": (("redis",), ("database",)),
    "jobs": (("database",), ("ratelimit",)),
    "ratelimit": (("database", "redis"), ("cache", "jobs")),
}


def build_targets(settings: HealthSettings) -> tuple[Sequence[Target], Mapping[str, Probe]]:
    """Return the targets, and the probes of those that are no services.

    Services are probed replica by replica: see `services.health.discovery`.
    """
    critical = settings.health_critical
    targets = [
        Target(name=name, kind=Kind.SERVICE, critical=name in critical, needs=needs, uses=uses)
        for name, (needs, uses) in _SERVICES.items()
    ]
    probes: dict[str, Probe] = {}
    for kind, name, needs, probe in _others(settings):
        targets.append(Target(name=name, kind=kind, critical=name in critical, needs=needs))
        probes[name] = probe
    return targets, probes


def services_of(settings: HealthSettings) -> Mapping[str, str]:
    """Return the addresses of each service, as configured."""
    return {
        "cache": settings.health_cache_address,
        "jobs": settings.health_jobs_address,
        "ratelimit": settings.health_ratelimit_address,
    }


def credentials_for(settings: HealthSettings) -> Credentials:
    """Return what services are asked with; raises ConfigurationError where that is unsafe."""
    text = ",".join(services_of(settings).values())
    everywhere = [str(each) for each in parse_addresses(text)]
    farthest = next((each for each in everywhere if not is_local(each)), everywhere[0])
    return credentials_to(farthest, settings)


def under_its_name(credentials: Credentials, replica: Address) -> Credentials:
    """Return what one replica is asked with: its certificate is for the name it was found by."""
    if credentials.tls is None or not replica.found_by:
        return credentials
    return replace(credentials, tls=replace(credentials.tls, server_name=replica.found_by))


_Other = tuple[Kind, str, tuple[str, ...], Probe]


def _others(settings: HealthSettings) -> Iterator[_Other]:
    yield from _stores(settings)
    yield from _of_jobs(settings)
    for name, path in parse_named(settings.health_disk_paths, DISK).items():
        low, full = settings.health_disk_low, settings.health_disk_full
        yield Kind.DISK, name, (), DiskProbe(path, low=low, full=full)
    warn_within = timedelta(days=settings.health_certificate_days)
    for name, place in parse_named(settings.health_certificates, CERTIFICATE).items():
        yield Kind.CERTIFICATE, name, (), CertificateProbe(_read(place), warn_within=warn_within)


def _stores(settings: HealthSettings) -> Iterator[_Other]:
    redis = RedisProbe(settings.redis_url.get_secret_value(), instance=uuid4().hex[:12])
    yield Kind.REDIS, "redis", (), redis
    postgres_url = settings.postgres_url.get_secret_value()
    yield Kind.POSTGRES, "database", (), PostgresProbe(postgres_url)
    max_lag = settings.health_max_replication_lag
    if max_lag is not None:
        replication = ReplicationProbe(postgres_url, max_lag=max_lag)
        yield Kind.REPLICATION, "replication", ("database",), replication


def _of_jobs(settings: HealthSettings) -> Iterator[_Other]:
    addresses = [str(each) for each in parse_addresses(settings.health_jobs_address)]
    timeout = settings.health_probe_timeout
    credentials = credentials_for(settings)
    queue = QueueProbe(
        addresses,
        timeout=timeout,
        max_age=settings.health_max_queue_age,
        credentials=credentials,
    )
    yield Kind.QUEUE, "queue", ("jobs",), queue
    if least := settings.health_min_workers:
        workers = WorkersProbe(addresses, timeout=timeout, least=least, credentials=credentials)
        yield Kind.WORKERS, "workers", ("jobs",), workers


def _read(place: str) -> Read:
    """Return how a certificate is read: a place with a slash, or without a port, is a file."""
    try:
        address = parse_address(place)
    except ValueError:
        return of_file(Path(place))
    return of_file(Path(place)) if "/" in place else of_endpoint(address.host, address.port)
