"""The documents of HTTP: the form of H1 for everybody, the rest for those who may see it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.health.document import document, verdict_document
from services.health.maintenance import Maintenance, Mode
from services.health.rollup import Check, Report
from services.health.state import Observation, State
from services.health.target import Kind, Target, replica
from services.health.verdict import Advice, Verdict

NOON = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SHOWN = "2026-01-01T12:00:00.250Z"
DATABASE = Target(name="database", kind=Kind.POSTGRES)
SEEN = Observation(target="database", at=1.0, time=NOON, latency=0.0012345, request_id="probe-1")
MAINTENANCE = Maintenance(
    target="database",
    mode=Mode.DRAIN,
    start_time=NOON,
    end_time=NOON + timedelta(hours=1),
    reason="a new disk",
)
PROBED = Check(
    target=DATABASE,
    own=State.HEALTHY,
    state=State.HEALTHY,
    last=SEEN,
    since=NOON,
    found_by="probe-1",
)
NEVER = Check(
    target=DATABASE,
    own=State.UNKNOWN,
    state=State.UNKNOWN,
    message="The first probe is under way.",
)


def report_of(check: Check) -> Report:
    """Return a report of one check."""
    return Report(state=check.state, time=NOON, checks=(check,))


class TestForEverybody:
    def test_a_probed_target(self) -> None:
        """Latency is in milliseconds, times are UTC, and nothing else is there."""
        assert document(report_of(PROBED), details=False) == {
            "status": "healthy",
            "timestamp": SHOWN,
            "checks": {"database": {"status": "healthy", "latency": 1.234}},
        }

    def test_a_target_that_was_never_probed(self) -> None:
        """The keys are there, so that a reader need not ask; what is not known is null."""
        found = document(report_of(NEVER), details=False)

        assert {"database": {"status": "unknown", "latency": None}} == found["checks"]

    def test_a_verdict(self) -> None:
        """What to do, and no reason."""
        verdict = Verdict(
            name="cache", advice=Advice.DOWN, state=State.UNHEALTHY, message="Refused."
        )

        assert verdict_document(verdict, details=False) == {
            "name": "cache",
            "status": "unhealthy",
            "advice": "down",
            "open": False,
        }


class TestWithDetails:
    def test_a_probed_target(self) -> None:
        """All that explains it."""
        found = document(report_of(PROBED), details=True)

        assert {
            "status": "healthy",
            "latency": 1.234,
            "critical": False,
            "message": "",
            "needs": (),
            "uses": (),
            "because": (),
            "request_id": "probe-1",
            "time": SHOWN,
            "since": SHOWN,
            "maintenance": None,
        } == found["checks"]["database"]

    def test_a_target_that_was_never_probed(self) -> None:
        """What is not known is null."""
        found = document(report_of(NEVER), details=True)["checks"]["database"]

        assert (None, None, None) == (found["request_id"], found["time"], found["since"])

    def test_replicas(self) -> None:
        """Of a service, under their names."""
        one = replace(PROBED, target=replica("cache", "10.0.0.7:50051"))
        cache = replace(PROBED, target=Target(name="cache", kind=Kind.SERVICE), replicas=(one,))
        found = document(report_of(cache), details=True)["checks"]["cache"]["replicas"]

        assert ("healthy", 1.234, "probe-1") == (
            found["cache/10.0.0.7:50051"]["status"],
            found["cache/10.0.0.7:50051"]["latency"],
            found["cache/10.0.0.7:50051"]["request_id"],
        )

    def test_maintenance(self) -> None:
        """Of a target and of the whole: how, why and until when."""
        check = replace(PROBED, maintenance=MAINTENANCE)
        found = document(replace(report_of(check), maintenance=MAINTENANCE), details=True)
        told = {
            "mode": "drain",
            "reason": "a new disk",
            "start_time": SHOWN,
            "end_time": "2026-01-01T13:00:00.250Z",
        }

        assert (told, told) == (found["maintenance"], found["checks"]["database"]["maintenance"])

    def test_a_verdict(self) -> None:
        """With its reason."""
        verdict = Verdict(
            name="cache", advice=Advice.DOWN, state=State.UNHEALTHY, message="Refused."
        )

        assert "Refused." == verdict_document(verdict, details=True)["message"]
