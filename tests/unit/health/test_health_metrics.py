"""What Prometheus is told of the report."""

from prometheus_client import REGISTRY

from services.health.metrics import record_report
from services.health.state import State
from tests.unit.health.observations import failed
from tests.unit.health.suites import report_of, well_but


def states(metric: str, **labels: str) -> list[str]:
    """Return the states that a metric shows to hold."""
    return [
        state
        for state in State
        if REGISTRY.get_sample_value(metric, {"state": state.value, **labels}) == 1
    ]


class TestReport:
    def test_shows_the_state_of_the_whole_and_of_each(self) -> None:
        """Each is in one state, and in no other."""
        record_report(report_of(well_but()))
        well = states("mainstay_health_suite_state")
        record_report(report_of(well_but(failed(2, "redis"))))

        assert [State.HEALTHY] == well
        assert [State.DEGRADED] == states("mainstay_health_suite_state")
        assert [State.UNHEALTHY] == states("mainstay_health_check_state", target="redis")
        assert [State.HEALTHY] == states("mainstay_health_check_state", target="database")
