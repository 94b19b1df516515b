"""Incidents as people count them."""

from datetime import UTC, datetime, timedelta

from services.health.history import Incident
from services.health.outages import Outage, outages
from services.health.state import State

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def incident(
    target: str, *because: str, began: float = 0, lasted: float | None = 600, number: int = 0
) -> Incident:
    """Return an incident that began so many seconds after noon."""
    start = NOON + timedelta(seconds=began)
    return Incident(
        incident_id=f"{target}-{number}",
        target=target,
        worst_state=State.UNHEALTHY,
        start_time=start,
        end_time=None if lasted is None else start + timedelta(seconds=lasted),
        because=because or (target,),
        message="",
        request_id="",
    )


class TestOutages:
    def test_victims_stand_with_their_cause(self) -> None:
        """One outage of the database is one entry, with whom it hit, in the order of names."""
        database = incident("database")
        found = outages(
            [incident("suite", "database"), incident("jobs", "database", began=5), database]
        )

        assert [Outage(incident=database, hit=("jobs", "suite"))] == found

    def test_what_failed_by_itself_stays(self) -> None:
        """Although something that it needs failed too."""
        both = [incident("jobs", "database", "jobs"), incident("database")]

        assert both == [each.incident for each in outages(both)]

    def test_a_victim_whose_cause_is_not_there_stays(self) -> None:
        """It is older than the others, or of a target that is gone."""
        alone = incident("jobs", "database")

        assert [Outage(incident=alone)] == outages([alone])

    def test_another_outage_of_the_same_cause_does_not_count(self) -> None:
        """What the database did yesterday did not hit anybody today."""
        yesterday = incident("database", began=-86_400)
        today = incident("jobs", "database")

        assert [today, yesterday] == [each.incident for each in outages([today, yesterday])]

    def test_damping_may_tell_the_victim_first(self) -> None:
        """Each target is damped by itself: some seconds mean nothing."""
        victim, cause = incident("jobs", "database"), incident("database", began=10, lasted=None)

        assert [Outage(incident=cause, hit=("jobs",))] == outages([cause, victim])

    def test_two_causes_both_name_it(self) -> None:
        """Nobody knows which of them alone would have been enough."""
        found = outages(
            [incident("suite", "database", "redis"), incident("database"), incident("redis")]
        )

        assert [("database", ("suite",)), ("redis", ("suite",))] == [
            (each.incident.target, each.hit) for each in found
        ]
