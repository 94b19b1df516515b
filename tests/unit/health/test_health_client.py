"""What the SDK makes of a report that it does not fully understand."""

from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.health import Check, State
from mainstay.health.reading import report
from mainstay.health.v1 import health_service_pb2 as pb


class TestNewerServer:
    def test_a_state_of_a_later_version_is_unknown(self) -> None:
        """Values may be added; an older client must not take one for health."""
        response = pb.GetReportResponse(snapshot_time=Timestamp(seconds=1))
        response.state = 99  # type: ignore[assignment]

        assert State.UNKNOWN is report(response).state


class TestUnprobed:
    def test_nothing_is_made_up(self) -> None:
        """Before the first probe there is no latency and no time, which differs from zero."""
        check = pb.Check(name="cache", state=pb.STATE_UNKNOWN, critical=True, message="Wait.")
        response = pb.GetReportResponse(checks=[check])
        expected = Check(
            name="cache",
            state=State.UNKNOWN,
            critical=True,
            latency=None,
            check_time=None,
            message="Wait.",
            request_id="",
        )

        assert (expected,) == report(response).checks
