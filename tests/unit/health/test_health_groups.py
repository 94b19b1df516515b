"""Groups of targets, the status of a drain, and the token, as settings name them."""

import pytest
from pydantic import ValidationError

from services.health.settings import HealthSettings
from shared.config import load_settings


@pytest.fixture(autouse=True)
def urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what is required."""
    monkeypatch.setenv("MAINSTAY_REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("MAINSTAY_POSTGRES_URL", "postgresql://mainstay@127.0.0.1:5432/mainstay")


class TestGroups:
    def test_are_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Separated by commas, their targets by plus signs, with spaces where one likes."""
        text = "edge=cache+ratelimit, background = jobs + database,"
        monkeypatch.setenv("MAINSTAY_HEALTH_GROUPS", text)

        assert {
            "edge": {"cache", "ratelimit"},
            "background": {"jobs", "database"},
        } == HealthSettings().health_groups

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("edge=cahce", "group 'edge' has no such target: cahce; known are cache,"),
            ("edge=", "group 'edge' has no targets"),
            ("edge", "'edge' names no targets; write name=target"),
            ("edge=cache,edge=jobs", "'edge' is there twice"),
            ("cache=cache", "'cache' is a target's name"),
            ("suite=cache", "'suite' is a target's name"),
            ("a/b=cache", "'a/b' cannot be a group's name"),
            ("=cache", "'' cannot be a group's name"),
        ],
    )
    def test_that_make_no_sense_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
    ) -> None:
        """At start, with what is wrong: a balancer would find out too late."""
        monkeypatch.setenv("MAINSTAY_HEALTH_GROUPS", text)
        with pytest.raises(ValidationError) as caught:
            HealthSettings()

        assert complaint in str(caught.value)


class TestDrainStatus:
    def test_is_one_of_two(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As an environment has numbers, and no other."""
        monkeypatch.setenv("MAINSTAY_HEALTH_DRAIN_STATUS", "404")
        chosen = HealthSettings().health_drain_status
        monkeypatch.setenv("MAINSTAY_HEALTH_DRAIN_STATUS", "200")
        with pytest.raises(ValidationError):
            HealthSettings()

        assert chosen == 404


class TestDetailsToken:
    def test_that_can_be_guessed_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without being printed."""
        monkeypatch.setenv("MAINSTAY_HEALTH_DETAILS_TOKEN", "hunter2")
        with pytest.raises(SystemExit):
            load_settings(HealthSettings)
        complaint = capsys.readouterr().err

        assert "MAINSTAY_HEALTH_DETAILS_TOKEN" in complaint
        assert "hunter2" not in complaint
