"""What the health service can be told, and what it refuses to be told."""

import pytest
from pydantic import ValidationError

from services.health.settings import HealthSettings


@pytest.fixture(autouse=True)
def urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what is required."""
    monkeypatch.setenv("MAINSTAY_REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("MAINSTAY_POSTGRES_URL", "postgresql://mainstay@127.0.0.1:5432/mainstay")


class TestDefaults:
    def test_a_dead_target_is_noticed_within_ten_seconds(self) -> None:
        """The slowest case: it dies just after a probe, the jitter is long, every probe hangs."""
        settings = HealthSettings()
        rounds = settings.health_probe_fall
        slowest = rounds * settings.health_probe_interval * 1.1 + settings.health_probe_timeout

        assert slowest < 8

    def test_trust_outlives_the_longest_gap_between_two_probes(self) -> None:
        """Else a target whose probes hang would flicker between unhealthy and unknown."""
        settings = HealthSettings()
        longest = settings.health_probe_interval * 1.1 + settings.health_probe_timeout

        assert longest < settings.health_stale_periods * settings.health_probe_interval

    def test_shared_dependencies_are_optional(self) -> None:
        """Their failure is everybody's and takes nobody out of rotation."""
        assert frozenset({"cache", "jobs", "ratelimit"}) == HealthSettings().health_critical


class TestCritical:
    def test_names_are_separated_by_commas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As people write lists in an environment."""
        monkeypatch.setenv("MAINSTAY_HEALTH_CRITICAL", "database, jobs")

        assert frozenset({"database", "jobs"}) == HealthSettings().health_critical

    def test_empty_means_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then the suite is degraded at worst."""
        monkeypatch.setenv("MAINSTAY_HEALTH_CRITICAL", "")

        assert frozenset() == HealthSettings().health_critical

    def test_an_unknown_target_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A typing mistake must not turn a critical target into an optional one."""
        monkeypatch.setenv("MAINSTAY_HEALTH_CRITICAL", "jobs,postgres")
        with pytest.raises(ValidationError, match="no such target: postgres"):
            HealthSettings()


class TestTimeout:
    def test_it_fits_into_the_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A probe that outlasts its round would delay the next one."""
        monkeypatch.setenv("MAINSTAY_HEALTH_PROBE_TIMEOUT", "3")
        with pytest.raises(ValidationError, match="MAINSTAY_HEALTH_PROBE_INTERVAL"):
            HealthSettings()
