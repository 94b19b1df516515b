"""What is probed with given settings, and what it needs."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.health.naming import target_names
from services.health.settings import HealthSettings
from services.health.target import Kind, Target
from services.health.targets import build_targets

URLS = {"redis_url": "redis://127.0.0.1:1/0", "postgres_url": "postgresql://m@127.0.0.1:1/m"}
EVERYTHING = {
    "health_max_replication_lag": 30.0,
    "health_min_workers": 1,
    "health_disk_paths": "data=/srv,logs=/var/log",
    "health_certificates": "api=/tls/api.pem,edge=edge.internal:443",
}


def settings(**changes: Any) -> HealthSettings:
    """Return settings that name stores where nobody listens."""
    return HealthSettings(**{**URLS, **changes})


def built(**changes: Any) -> dict[str, Target]:
    """Return the targets by name."""
    return {target.name: target for target in build_targets(settings(**changes))[0]}


class TestTargets:
    def test_by_default(self) -> None:
        """Services, stores, the queue, and the volume this runs on."""
        kinds = {name: target.kind for name, target in built().items()}

        assert {
            "cache": Kind.SERVICE,
            "jobs": Kind.SERVICE,
            "ratelimit": Kind.SERVICE,
            "redis": Kind.REDIS,
            "database": Kind.POSTGRES,
            "queue": Kind.QUEUE,
            "disk": Kind.DISK,
        } == kinds

    def test_what_each_needs(self) -> None:
        """Without it, the target is degraded; what it only uses changes nothing."""
        targets = built(**EVERYTHING)
        needs = {name: target.needs for name, target in targets.items() if target.needs}
        uses = {name: target.uses for name, target in targets.items() if target.uses}

        assert {
            "cache": ("redis",),
            "jobs": ("database",),
            "ratelimit": ("database", "redis"),
            "queue": ("jobs",),
            "workers": ("jobs",),
            "replication": ("database",),
        } == needs
        assert {
            "cache": ("database",),
            "jobs": ("ratelimit",),
            "ratelimit": ("cache", "jobs"),
        } == uses

    @pytest.mark.parametrize("changes", [{}, EVERYTHING, {"health_disk_paths": ""}])
    def test_settings_know_their_names(self, changes: dict[str, Any]) -> None:
        """Else a name that exists would be refused as critical, or one that does not accepted."""
        assert target_names(settings(**changes).model_dump()) == built(**changes).keys()

    def test_everything_but_services_has_a_probe(self) -> None:
        """Services are probed replica by replica."""
        targets, probes = build_targets(settings(**EVERYTHING))
        others = {target.name for target in targets if target.kind is not Kind.SERVICE}

        assert others == probes.keys()

    def test_critical(self) -> None:
        """As configured, of whatever kind."""
        targets = built(health_critical="jobs,disk")

        assert {"jobs", "disk"} == {name for name, each in targets.items() if each.critical}


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("health_critical", "jobs,workers", "no such target: workers"),
            ("health_groups", "edge=cache+workers", "no such target: workers"),
            ("health_disk_paths", "/srv,/var", "has no name"),
            ("health_certificates", "a.pem,b.pem", "has no name"),
            ("health_cache_address", "cache", "write host:port"),
            ("health_jobs_address", "", "names no address"),
        ],
    )
    def test_are_refused_at_start(self, name: str, value: str, says: str) -> None:
        """A target that is not watched can be neither critical nor in a group."""
        with pytest.raises(ValidationError, match=says):
            settings(**{name: value})
