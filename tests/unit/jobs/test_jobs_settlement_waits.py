"""Reports of steps that wait and of steps that are undone, settled."""

from typing import Any

import pytest

from services.jobs.function import FunctionDefinition
from services.jobs.job import Compensation, JobId, Progress
from services.jobs.reports import (
    AckState,
    Completed,
    News,
    Report,
    StepCompensated,
    StepCompleted,
    Stopped,
    Suspended,
    WaitBegun,
)
from services.jobs.retry import Backoff
from services.jobs.settlement import Held, Settlement, settle
from services.jobs.states import JobState
from services.jobs.waiting import EventWait, Invoke, SignalWait, Sleep
from tests.unit.jobs.job_values import job_id, lease, report

STORED, DUPLICATE, FENCED, REJECTED = AckState
DECLARED, DONE = Compensation.DECLARED, Compensation.DONE

NAP = WaitBegun(key="nap", wait=Sleep(duration=60.0))
JOB = job_id()


def function(name: str) -> FunctionDefinition:
    """Return a function that can be invoked."""
    return FunctionDefinition(
        name=name, trigger="", max_attempts=3, backoff=Backoff(initial=1.0, maximum=60.0)
    )


def settled(*news: News, turn: dict[str, Any] | None = None, **held: Any) -> Settlement:
    """Settle reports in order against one lease; `held` is what is stored of its job."""
    reports: list[Report] = [report(each, number) for number, each in enumerate(news, start=1)]
    facts: dict[str, dict[JobId, Any]] = {name: {JOB: value} for name, value in held.items()}
    finished = facts.pop("finished", {})
    functions = {"acme": {name: function(name) for name in ("child", "process-video")}}
    return settle(
        reports,
        Held(
            leases=[lease(**(turn or {}))],
            finished=finished,
            closed={},
            functions=functions,
            **facts,
        ),
        lambda: 1.0,
    )


def states(settlement: Settlement) -> list[AckState]:
    """Return what became of each report."""
    return [ack.state for ack in settlement.acks]


def state_of(settlement: Settlement) -> JobState:
    """Return where the job goes."""
    (ending,) = settlement.endings
    return ending.state


ROLLBACK = {"rollback": True, "rollback_attempt": 2, "rollback_outcome": JobState.CANCELLED}


class TestTakenKey:
    @pytest.mark.parametrize("finished", [set(), {"nap"}])
    def test_wait(self, finished: set[str]) -> None:
        """A step cannot end under the key of one that waits, or has waited."""
        settlement = settled(
            StepCompleted(key="nap", result="1"), waiting={"nap"}, finished=finished
        )

        (ack,) = settlement.acks
        assert (REJECTED, []) == (ack.state, settlement.turns)
        assert "'nap' is a step that waits" in ack.message

    def test_same_batch(self) -> None:
        """Nor when both come together."""
        settlement = settled(NAP, StepCompleted(key="nap", result="1"))

        assert [STORED, REJECTED] == states(settlement)


class TestCancelled:
    def test_invokes_nothing(self) -> None:
        """A job that is to end starts no others, which nobody would end."""
        settlement = settled(
            WaitBegun(key="child", wait=Invoke(function="child", data="{}")),
            turn={"cancel_rollback": False},
        )

        (ack,) = settlement.acks
        assert REJECTED == ack.state
        assert "the job is to end" in ack.message


class TestWaiting:
    def test_begun(self) -> None:
        """A step that begins to wait is stored, and counts towards what steps may take."""
        settlement = settled(NAP, turn={"steps_bytes": 10})

        (turn,) = settlement.turns
        assert [STORED] == states(settlement)
        assert ([NAP], 10 + NAP.size) == (turn.waits, turn.steps_bytes)

    @pytest.mark.parametrize("held", [{"waiting": {"nap"}}, {"finished": {"nap"}}])
    def test_same_key(self, held: dict[str, Any]) -> None:
        """A step that waits already, or has waited, does not begin anew."""
        settlement = settled(NAP, **held)

        assert [DUPLICATE] == states(settlement)
        assert settlement.turns[0].waits == []

    def test_same_key_in_a_batch(self) -> None:
        """Also when both reports come together."""
        assert [STORED, DUPLICATE] == states(settled(NAP, NAP))

    @pytest.mark.parametrize(
        ("wait", "message"),
        [
            (None, "wait_begun.wait"),
            (Sleep(duration=-1.0), "sleep.duration"),
            (Sleep(duration=float("inf")), "sleep.duration"),
            (Sleep(duration=366 * 86400.0), "sleep.duration"),
            (EventWait(name=""), "event.name"),
            (EventWait(name="e", match="[]"), "must be a JSON object"),
            (EventWait(name="e", match="{"), "not JSON"),
            (EventWait(name="e", match='{"a": {"b": ["\\u0000"]}}'), "NUL"),
            (EventWait(name="e", timeout=-1.0), "event.timeout"),
            (SignalWait(name="a\0"), "signal.name"),
            (SignalWait(name="go", timeout=366 * 86400.0), "signal.timeout"),
            (Invoke(function="child", data=""), "not JSON"),
            (Invoke(function="child", data="[]"), "must be a JSON object"),
            (Invoke(function="child", data='{"x": "' + "x" * 2**20 + '"}'), "1,048,585 bytes"),
            (Invoke(function="child", data="{}", priority=101), "priority"),
            (Invoke(function="nobody", data="{}"), "no worker has declared 'nobody'"),
        ],
    )
    def test_unacceptable(self, wait: Any, message: str) -> None:
        """What cannot be waited for is rejected, with the reason."""
        settlement = settled(WaitBegun(key="k", wait=wait))

        assert [REJECTED] == states(settlement)
        assert message in settlement.acks[0].message
        assert settlement.turns == []

    @pytest.mark.parametrize("key", ["", "k" * 201, "a\0b"])
    def test_key(self, key: str) -> None:
        """Steps that wait have keys like all others."""
        assert [REJECTED] == states(settled(WaitBegun(key=key, wait=Sleep(duration=1.0))))


class TestInvoking:
    def test_cycle(self) -> None:
        """A job that would wait for itself in the end is refused with the way to it."""
        settlement = settled(
            WaitBegun(key="k", wait=Invoke(function="child", data="{}")),
            ancestors=("child", "process-video"),
        )

        assert [REJECTED] == states(settlement)
        assert "cyclic: child → process-video → child" in settlement.acks[0].message

    @pytest.mark.parametrize(("depth", "expected"), [(10, STORED), (11, REJECTED)])
    def test_depth(self, depth: int, expected: AckState) -> None:
        """Jobs wait for one another ten deep."""
        ancestors = tuple(f"f-{number}" for number in range(depth))

        settlement = settled(
            WaitBegun(key="k", wait=Invoke(function="child", data="{}")), ancestors=ancestors
        )

        assert [expected] == states(settlement)


class TestSuspending:
    def test_parked(self) -> None:
        """A job goes to rest while all it waits for is still to come."""
        settlement = settled(NAP, Suspended(keys=("nap", "other")), waiting={"other"})

        assert [STORED, STORED] == states(settlement)
        assert JobState.WAITING is state_of(settlement)
        assert settlement.endings[0].wait is None

    def test_woken(self) -> None:
        """One of several that has come already is enough to go on."""
        settlement = settled(Suspended(keys=("nap", "other")), waiting={"other"}, finished={"nap"})

        assert settlement.endings[0].ready

    def test_unknown_key(self) -> None:
        """A job cannot wait for a step that has not begun to."""
        settlement = settled(Suspended(keys=("nap",)))

        assert [REJECTED] == states(settlement)
        assert "'nap' has not begun to wait" in settlement.acks[0].message

    @pytest.mark.parametrize("keys", [(), ("k",) * 1001])
    def test_bounds(self, keys: tuple[str, ...]) -> None:
        """It waits for something, and not for anything."""
        assert [REJECTED] == states(settled(Suspended(keys=keys), waiting={"k"}))


class TestUndoing:
    def test_a_step(self) -> None:
        """A step is undone once, and turns without progress count anew."""
        settlement = settled(
            StepCompensated(key="pay"), turn=ROLLBACK, compensations={"pay": DECLARED}
        )

        (turn,) = settlement.turns
        assert [STORED] == states(settlement)
        assert (["pay"], 0) == (turn.undone, turn.lease.rollback_attempt)

    def test_twice(self) -> None:
        """A step that is undone already stays so."""
        settlement = settled(StepCompensated(key="pay"), turn=ROLLBACK, compensations={"pay": DONE})

        assert [DUPLICATE] == states(settlement)
        assert settlement.turns[0].undone == []

    def test_odd_step(self) -> None:
        """Only what was declared can be undone."""
        settlement = settled(StepCompensated(key="probe"), turn=ROLLBACK)

        assert [REJECTED] == states(settlement)
        assert "'probe' is not a step that can be undone" in settlement.acks[0].message

    def test_everything(self) -> None:
        """A job is over when the last step was undone and the worker says that it is done."""
        settlement = settled(
            StepCompensated(key="b"),
            StepCompensated(key="a"),
            Completed(result="1"),
            turn=ROLLBACK,
            compensations={"a": DECLARED, "b": DECLARED},
        )

        assert JobState.CANCELLED is state_of(settlement)
        assert settlement.endings[0].result is None

    def test_not_everything(self) -> None:
        """A worker that has left something has failed."""
        settlement = settled(
            StepCompensated(key="b"),
            Completed(result="1"),
            turn=ROLLBACK,
            compensations={"a": DECLARED, "b": DECLARED},
        )

        assert JobState.ROLLING_BACK is state_of(settlement)

    @pytest.mark.parametrize(
        "news", [StepCompleted(key="k", result="1"), NAP, Suspended(keys=("k",))]
    )
    def test_nothing_else(self, news: News) -> None:
        """A turn at undoing goes on with nothing else."""
        settlement = settled(news, turn=ROLLBACK, waiting={"k"})

        assert [REJECTED] == states(settlement)

    def test_not_the_time(self) -> None:
        """A turn that goes on undoes nothing."""
        settlement = settled(StepCompensated(key="pay"), compensations={"pay": DECLARED})

        assert [REJECTED] == states(settlement)

    def test_step_of_the_same_batch(self) -> None:
        """A step that was finished just before the stop is undone too."""
        settlement = settled(
            StepCompleted(key="pay", result="1", compensable=True),
            Stopped(),
            turn={"cancel_rollback": True},
        )

        assert JobState.ROLLING_BACK is state_of(settlement)


class TestStopping:
    def test_unasked(self) -> None:
        """A worker that stops unasked gives the job back."""
        assert JobState.QUEUED is state_of(settled(Stopped()))


class TestPartialResults:
    def test_kept(self) -> None:
        """Progress that is folded keeps the last partial result."""
        settlement = settled(
            Progress(fraction=0.1, message="a", partial="[1]"),
            Progress(fraction=0.2, message="b"),
        )

        assert Progress(fraction=0.2, message="b", partial="[1]") == settlement.turns[0].progress

    @pytest.mark.parametrize(
        ("partial", "message"),
        [("{", "not JSON"), ('"' + "x" * 65_535 + '"', "65,537 bytes, more than 65,536")],
    )
    def test_unacceptable(self, partial: str, message: str) -> None:
        """A partial result is JSON and bounded."""
        settlement = settled(Progress(fraction=0.1, message="", partial=partial))

        assert [REJECTED] == states(settlement)
        assert message in settlement.acks[0].message
