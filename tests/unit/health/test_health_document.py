"""The document of H1."""

from datetime import UTC, datetime

from services.health.document import document
from services.health.rollup import Check, Report, Target
from services.health.state import Observation, State

NOON = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
DATABASE = Target(name="database", critical=False)
SEEN = Observation(target="database", at=1.0, time=NOON, latency=0.0012345, request_id="probe-1")


class TestDocument:
    def test_a_probed_target(self) -> None:
        """Latency is in milliseconds, times are UTC."""
        check = Check(target=DATABASE, state=State.HEALTHY, last=SEEN)
        report = Report(state=State.HEALTHY, time=NOON, checks=(check,))

        assert document(report) == {
            "status": "healthy",
            "timestamp": "2026-01-01T12:00:00.250Z",
            "checks": {
                "database": {
                    "status": "healthy",
                    "latency": 1.234,
                    "critical": False,
                    "message": "",
                    "time": "2026-01-01T12:00:00.250Z",
                    "request_id": "probe-1",
                }
            },
        }

    def test_a_target_that_was_never_probed(self) -> None:
        """The keys are there, so that a reader need not ask; what is not known is null."""
        check = Check(target=DATABASE, state=State.UNKNOWN, message="The first probe is under way.")
        report = Report(state=State.UNKNOWN, time=NOON, checks=(check,))

        assert document(report)["checks"]["database"] == {
            "status": "unknown",
            "latency": None,
            "critical": False,
            "message": "The first probe is under way.",
            "time": None,
            "request_id": None,
        }
