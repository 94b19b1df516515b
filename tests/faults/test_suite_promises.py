"""What the fault suite takes for a broken promise, and what it does not."""

from dataclasses import replace
from typing import ClassVar

import pytest

from tests.faults.suite import promises
from tests.faults.suite.history import Call, Decision, History, Invalidation, Read, Value
from tests.faults.suite.promises import COUNTERS, Rule

LOCAL = Rule(limit=3, window=10.0, mode="local")


class TestStale:
    """A value that was there before an invalidation that was acknowledged before the read."""

    VALUES: ClassVar = {"k#1": Value(key="k", settled=1.0)}
    DEAD = Invalidation(keys=frozenset({"k"}), began=2.0, ended=3.0)
    READ = Read(key="k", value="k#1", began=4.0)

    def test_is_found(self) -> None:
        """It must not be read any more."""
        assert ["k brought k#1, invalidated"] == self.judged(self.READ)

    @pytest.mark.parametrize(
        ("read", "values", "dead"),
        [
            pytest.param(replace(READ, began=2.5), VALUES, DEAD, id="read_meanwhile"),
            pytest.param(READ, {"k#1": Value(key="k", settled=2.5)}, DEAD, id="written_meanwhile"),
            pytest.param(READ, {}, DEAD, id="never_acknowledged"),
            pytest.param(READ, VALUES, replace(DEAD, keys=frozenset({"o"})), id="another_key"),
        ],
    )
    def test_is_not_what_may_be(
        self, read: Read, values: dict[str, Value], dead: Invalidation
    ) -> None:
        """What happened at the same time may have come in either order."""
        assert [] == [each.what for each in promises.stale([read], values, [dead])]

    def test_is_not_anothers(self) -> None:
        """A key brings its own values."""
        read = replace(self.READ, key="other")

        assert ["other brought k#1, another's"] == self.judged(read)

    def judged(self, read: Read) -> list[str]:
        """Return what is found."""
        return [each.what for each in promises.stale([read], self.VALUES, [self.DEAD])]


class TestOverLimit:
    """More than the counters, or a failure mode, may admit in a window."""

    def test_as_many_as_may(self) -> None:
        """A limit's worth of the counters, and another of the replicas."""
        assert [] == self.judged([*self.admitted(3, COUNTERS), *self.admitted(3, "local")])

    @pytest.mark.parametrize("mode", [COUNTERS, "local"])
    def test_one_too_many(self, mode: str) -> None:
        """Neither may admit more."""
        (found,) = self.judged(self.admitted(4, mode))

        assert "admitted 4" in found

    def test_the_next_window(self) -> None:
        """What is a window later is not too many."""
        later = [replace(each, began=12.0, ended=12.1) for each in self.admitted(1, COUNTERS)]

        assert [] == self.judged([*self.admitted(3, COUNTERS), *later])

    def test_what_ended_later_may_belong_to_the_next(self) -> None:
        """An answer that came after the window may have been decided after it."""
        late = [replace(each, ended=11.5) for each in self.admitted(1, COUNTERS)]

        assert [] == self.judged([*self.admitted(3, COUNTERS), *late])

    def test_denials_consume_nothing(self) -> None:
        """Only what was allowed counts."""
        denied = [replace(each, allowed=False) for each in self.admitted(9, COUNTERS)]

        assert [] == self.judged(denied)

    def test_a_replica_that_started_meanwhile(self) -> None:
        """It knows neither what the one before admitted nor of others."""
        admitted = self.admitted(6, "local")

        assert [] == self.judged(admitted, starts=[5.0])
        assert [] != self.judged(admitted, starts=[50.0])

    def admitted(self, count: int, mode: str) -> list[Decision]:
        """Return so many decisions within a second."""
        return [
            Decision(rule="r", began=1.0 + n / 10, ended=1.05 + n / 10, allowed=True, mode=mode)
            for n in range(count)
        ]

    def judged(self, decisions: list[Decision], starts: list[float] | None = None) -> list[str]:
        """Return what is found."""
        found = promises.over_limit(decisions, {"r": LOCAL}, starts or [])
        return [each.what for each in found]


class TestModes:
    """What decides while the counters are away is what the rule says."""

    @pytest.mark.parametrize(
        ("declared", "mode", "allowed", "broken"),
        [
            ("open", "open", True, 0),
            ("open", "open", False, 1),
            ("closed", "closed", False, 0),
            ("closed", "closed", True, 1),
            ("closed", "open", True, 1),
            ("local", "local", True, 0),
            ("local", COUNTERS, True, 0),
        ],
    )
    def test_table(self, declared: str, mode: str, allowed: bool, broken: int) -> None:
        """Each mode allows or denies everything, or a share."""
        decision = Decision(rule="r", began=0.0, ended=0.1, allowed=allowed, mode=mode)
        rules = {"r": replace(LOCAL, mode=declared)}

        assert broken == len([*promises.wrong_modes([decision], rules)])


class TestHung:
    """A call that takes longer than its deadline and a second."""

    def test_is_found(self) -> None:
        """Whether it has ended or not."""
        ended = Call(kind="read", began=0.0, deadline=2.0, ended=3.5, outcome="ok")
        open_call = Call(kind="read", began=0.0, deadline=2.0)

        assert 2 == len(self.judged(ended, open_call))

    def test_is_not_one_within_a_second(self) -> None:
        """Telling of a deadline takes a moment."""
        assert [] == self.judged(Call(kind="r", began=0.0, deadline=2.0, ended=2.9, outcome="ok"))

    def test_is_not_one_that_the_callers_held_up(self) -> None:
        """What the callers' own process stood still is theirs, and no more than that."""
        call = Call(kind="read", began=0.0, deadline=2.0, ended=3.5, outcome="ok")

        assert [] == self.judged(call, stalls=[(1.0, 0.6)])
        assert [] != self.judged(call, stalls=[(1.0, 0.3)])
        assert [] != self.judged(call, stalls=[(5.0, 0.6)])

    def judged(self, *calls: Call, stalls: list[tuple[float, float]] | None = None) -> list[str]:
        """Return what is found ten seconds later."""
        history = History(calls=[*calls], stalls=stalls or [])
        return [each.what for each in promises.hung(history, 10.0)]


class TestRecovery:
    """The first moment from which on all calls succeed for two seconds."""

    def test_at_once(self) -> None:
        """Where nothing failed it is the moment itself."""
        assert 0.0 == self.recovered(self.calls(50))

    def test_after_the_last_failure(self) -> None:
        """A success between failures is none."""
        calls = self.calls(50)
        for number in (3, 4, 6):
            calls[number].outcome = "UNAVAILABLE"

        assert 0.6 == pytest.approx(self.recovered(calls), abs=0.01)

    @pytest.mark.parametrize("outcome", ["UNAVAILABLE", "degraded", ""])
    def test_never(self, outcome: str) -> None:
        """Not while each second has a call that fails, is degraded or has no answer."""
        calls = self.calls(50)
        for call in calls[::5]:
            call.outcome = outcome

        assert self.recovered(calls) is None

    def test_not_at_a_lower_rate(self) -> None:
        """Few calls that succeed are not the former rate."""
        assert self.recovered(self.calls(50)[::5]) is None

    def test_not_before_it_has_lasted(self) -> None:
        """A second of success may be followed by one of failures."""
        assert self.recovered(self.calls(30), now=1.5) is None

    def calls(self, count: int) -> list[Call]:
        """Return ten calls a second that ended well."""
        return [
            Call(kind="r", began=n / 10, deadline=2.0, ended=n / 10 + 0.05, outcome="ok")
            for n in range(count)
        ]

    def recovered(self, calls: list[Call], now: float = 5.0) -> float | None:
        """Return when it was so."""
        return promises.recovery(calls, 0.0, least=14, now=now)
