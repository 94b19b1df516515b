"""One report for all who ask at once, and never an old one after something was learned."""

from datetime import UTC, datetime

from services.health.recent import MAX_AGE, Recent
from services.health.rollup import Report
from services.health.snapshot import Snapshot
from services.health.state import Damping, State
from services.health.target import Kind, Target
from services.health.verdicts import Verdicts
from tests.unit.health.observations import failed, passed

CACHE = Target(name="cache", kind=Kind.REDIS, critical=True)
STALE_AFTER = 60.0


class Knowledge:
    """A snapshot at a time that the test sets, with a count of the reports made of it."""

    def __init__(self) -> None:
        damping = Damping(rise=1, fall=1, stale_after=STALE_AFTER)
        self.snapshot = Snapshot.empty([CACHE], damping=damping, time=datetime.now(UTC))
        self.now = 0.0
        self.made = 0
        self.recent = Recent(self._make, lambda: self.snapshot, monotonic=lambda: self.now)

    def _make(self) -> Report:
        self.made += 1
        return self.snapshot.report(self.now, datetime.now(UTC))


class TestRecent:
    def test_is_made_once_for_all_who_ask(self) -> None:
        """The same object, so that what is made of it can be kept too."""
        knowledge = Knowledge()
        reports = [knowledge.recent.report() for _ in range(3)]

        assert (1, True) == (knowledge.made, reports[0] is reports[2])

    def test_is_made_again_when_something_was_learned(self) -> None:
        """At once, whatever the time."""
        knowledge = Knowledge()
        states = [knowledge.recent.report().state]
        for seen in (passed(0.0), failed(0.0)):
            knowledge.snapshot = knowledge.snapshot.after(seen)
            states.append(knowledge.recent.report().state)

        assert [State.UNKNOWN, State.HEALTHY, State.UNHEALTHY] == states

    def test_more_of_the_same_waits(self) -> None:
        """Of hundreds of replicas it comes hundreds of times a second."""
        knowledge = Knowledge()
        for _ in range(3):
            knowledge.snapshot = knowledge.snapshot.after(passed(0.0))
            knowledge.recent.report()

        assert knowledge.made == 1

    def test_is_made_again_when_time_has_passed(self) -> None:
        """An answer that ages becomes unknown without anything being learned."""
        knowledge = Knowledge()
        knowledge.snapshot = knowledge.snapshot.after(passed(0.0))
        knowledge.now = STALE_AFTER
        fresh = knowledge.recent.report().state
        knowledge.now += MAX_AGE
        old = knowledge.recent.report().state

        assert (State.HEALTHY, State.UNKNOWN) == (fresh, old)


class TestVerdicts:
    def test_follow_the_report(self) -> None:
        """What is kept of one report is not told of the next."""
        knowledge = Knowledge()
        verdicts = Verdicts(knowledge.recent.report, groups={}, floor=0.5)
        found = []
        for seen in (passed(0.0), failed(0.0), passed(0.0)):
            knowledge.snapshot = knowledge.snapshot.after(seen)
            found += [verdicts.serving("cache"), verdicts.serving("cache")]

        assert [True, True, False, False, True, True] == found

    def test_of_names_that_nobody_knows_are_not_kept(self) -> None:
        """There is no end of such names."""
        verdicts = Verdicts(Knowledge().recent.report, groups={}, floor=0.5)
        found = [verdicts.of(f"name-{number}") for number in range(100)]

        assert ([None] * 100, {}) == (found, verdicts._verdicts)
