"""Lines of what happens by the thousand: each has its own, made a moment later."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from shared.telemetry.call_lines import CallLines
from shared.telemetry.event_lines import note_line
from shared.telemetry.logs import configure_logs


class TestALine:
    @pytest.fixture(autouse=True)
    def _restored(self) -> Iterator[None]:
        yield
        structlog.reset_defaults()

    @staticmethod
    def written(level: str) -> list[dict[str, object]]:
        """Return the lines of two events."""
        out = io.StringIO()
        configure_logs("jobs", level=level, log_format="json", environment="test", stream=out)
        for number in (1, 2):
            note_line("job_claimed", {"job_id": f"j-{number}", "request_id": "req-7"})
        # What is collected is written before a warning.
        structlog.get_logger().warning("over")
        return [json.loads(line) for line in out.getvalue().splitlines()][:-1]

    def test_every_one(self) -> None:
        """Each event has a line with its facts, in the form of all lines."""
        lines = self.written("info")

        assert [("job_claimed", "j-1"), ("job_claimed", "j-2")] == [
            (line["event"], line["job_id"]) for line in lines
        ]
        assert {"service": "jobs", "environment": "test", "level": "info"}.items() <= lines[
            0
        ].items()
        assert "req-7" == lines[0]["request_id"]
        assert str(lines[0]["timestamp"]).endswith("Z")

    def test_quiet(self) -> None:
        """A process that logs from warnings on has none of them."""
        assert [] == self.written("warning")

    def test_without_logging(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where logging is not set up, whoever listens to structlog hears of it."""
        monkeypatch.setattr(CallLines, "installed", None)
        with capture_logs() as lines:
            note_line("job_claimed", {"job_id": "j-1"})

        assert [{"event": "job_claimed", "job_id": "j-1", "log_level": "info"}] == lines
