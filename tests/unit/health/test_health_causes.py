"""Why a target is as it is, and who else is hit."""

import pytest

from services.health.causes import Explanation, blast_radius, explain
from services.health.snapshot import Snapshot
from tests.unit.health.observations import REFUSED, failed
from tests.unit.health.suites import report_of, well_but


def why(snapshot: Snapshot, name: str) -> Explanation:
    explanation = explain(report_of(snapshot), name)
    assert explanation is not None
    return explanation


class TestSummary:
    def test_a_victim_names_its_cause(self) -> None:
        """Jobs is degraded because of the database, in one sentence."""
        summary = why(well_but(failed(2, "database")), "jobs").summary

        assert summary == (
            "jobs is degraded because of database (unhealthy: Refused the connection)."
        )

    def test_a_culprit_says_what_its_probe_said(self) -> None:
        """There is nobody else to name."""
        assert why(well_but(failed(2, "database")), "database").summary == (
            f"database is unhealthy: {REFUSED}"
        )

    def test_the_own_fault_is_named_beside_that_of_others(self) -> None:
        """Who brings the database back shall know that the queue is not well for that alone."""
        explanation = why(well_but(failed(2, "database"), failed(2, "queue")), "queue")

        assert [root.target.name for root in explanation.root_causes] == ["database", "queue"]
        assert explanation.summary == (
            "queue is unhealthy because of database (unhealthy: Refused the connection). "
            f"By itself: {REFUSED}"
        )

    def test_a_healthy_target_has_nothing_to_explain(self) -> None:
        """No roots, no reasons."""
        explanation = why(well_but(failed(2, "database")), "cache")

        assert (explanation.summary, explanation.root_causes) == ("cache is healthy.", ())

    def test_of_the_whole_all_roots_are_named(self) -> None:
        """Two faults at once are two causes, and victims are none."""
        explanation = why(well_but(failed(2, "database"), failed(2, "redis")), "suite")

        assert [root.target.name for root in explanation.root_causes] == ["database", "redis"]
        assert explanation.summary.startswith("The suite is degraded because of database (")

    def test_an_unknown_name_has_none(self) -> None:
        """Better no explanation than one of something else."""
        assert explain(report_of(well_but()), "cash") is None


class TestRoots:
    def test_they_carry_the_request_id_of_the_probe(self) -> None:
        """The way into the logs."""
        explanation = why(well_but(failed(2, "database")), "queue")

        assert [root.found_by for root in explanation.root_causes] == ["database-2"]


class TestBlastRadius:
    @pytest.mark.parametrize(
        ("name", "hit"),
        [
            ("database", ("jobs", "queue")),
            ("redis", ("cache",)),
            ("jobs", ("queue",)),
            ("cache", ()),
        ],
    )
    def test_it_is_who_needs_the_target(self, name: str, hit: tuple[str, ...]) -> None:
        """Directly or through others; who only uses it is not hit."""
        assert hit == blast_radius(report_of(well_but()), name)
