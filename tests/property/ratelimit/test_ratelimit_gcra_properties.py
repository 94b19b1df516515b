"""What GCRA promises, on histories nobody would write down."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ratelimit.gcra import Debt, burst, charge, decide, emission_interval, refund
from services.ratelimit.policy import SECOND, Algorithm, Limit
from services.ratelimit.verdict import Verdict

START = 1_760_000_000 * SECOND
MANY = settings(max_examples=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A check, or a refund when `back` is set, `elapsed` after the one before."""

    elapsed: int
    behind: int
    cost: int
    back: bool
    age: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    limit: Limit
    acts: list[Act]


@st.composite
def histories(draw: st.DrawFn, *, clock_steps: bool = False) -> History:
    limit = Limit(
        quota=draw(st.integers(1, 100)),
        window=draw(st.sampled_from([SECOND, 60 * SECOND])),
        burst=draw(st.sampled_from([0, 1, 3, 20])),
        algorithm=Algorithm.GCRA,
    )
    interval = emission_interval(limit)
    times = st.one_of(
        st.just(0),
        st.sampled_from([1, interval - 1, interval, interval + 1, burst(limit) * interval]),
        st.integers(0, 3 * interval),
        st.integers(0, 2 * burst(limit) * interval),
    )
    act = st.builds(
        Act,
        elapsed=times,
        behind=times if clock_steps else st.just(0),
        cost=st.integers(1, burst(limit) + 1),
        back=st.sampled_from([False, False, False, True]),
        age=st.one_of(st.none(), times),
    )
    return History(limit=limit, acts=draw(st.lists(act, max_size=40)))


def _flow(history: History) -> list[tuple[int, int, bool]]:
    """Return the true times at which something was admitted, or came back, which is negative.

    What came back may be part of a unit only, and then counts as none.
    """
    debt: Debt | None = None
    limit, true_time, behind = history.limit, START, 0
    flow = []
    for act in history.acts:
        true_time += act.elapsed
        behind += act.behind
        now = true_time - behind
        if act.back:
            moment = None if act.age is None else now - act.age
            debt, amount, _ = refund(debt, now=now, limit=limit, cost=act.cost, admitted_at=moment)
            flow.append((true_time, -amount, True))
        else:
            debt, verdict = decide(debt, now=now, limit=limit, cost=act.cost, consume=True)
            flow.append((true_time, act.cost if verdict.admits else 0, False))
    return flow


def _assert_bounded(history: History) -> None:
    """Hold every span between two acts against burst + time / interval."""
    flow, interval = _flow(history), emission_interval(history.limit)
    for first, (begin, _, _) in enumerate(flow):
        net = 0
        for at, amount, _ in flow[first:]:
            net += amount
            parts = sum(back for _, _, back in flow[first:])

            assert (net - parts) * interval <= burst(history.limit) * interval + at - begin


class TestBound:
    @given(history=histories())
    @MANY
    def test_in_any_time_a_burst_and_the_rate_at_most(self, history: History) -> None:
        """Net of what came back in it."""
        _assert_bounded(history)

    @given(history=histories(clock_steps=True))
    @MANY
    def test_also_when_the_clock_steps_back(self, history: History) -> None:
        """In true time, whatever the store's clock says of it."""
        _assert_bounded(history)


class TestRefunds:
    @given(history=histories())
    @MANY
    def test_never_lift_what_remains_above_the_burst(self, history: History) -> None:
        """What comes back was used before, and not more of it than was asked for."""
        debt: Debt | None = None
        now = START
        for act in history.acts:
            now += act.elapsed
            debt, before = decide(debt, now=now, limit=history.limit, cost=act.cost, consume=True)
            moment = None if act.age is None else now - act.age
            debt, amount, after = refund(
                debt, now=now, limit=history.limit, cost=act.cost, admitted_at=moment
            )

            assert 0 <= amount <= min(act.cost, before.used)
            assert after.used == before.used - amount

    @given(history=histories(), late=st.integers(0, 10))
    @MANY
    def test_what_is_paid_off_does_not_come_back(self, history: History, late: int) -> None:
        """A burst's time after an admission, whatever was admitted since."""
        limit = history.limit
        drained = burst(limit) * emission_interval(limit) + late
        debt, _ = decide(None, now=START, limit=limit, cost=1, consume=True)
        debt, _ = charge(debt, now=START + drained, limit=limit, cost=burst(limit))
        _, amount, _ = refund(debt, now=START + drained, limit=limit, cost=1, admitted_at=START)

        assert amount == 0


class TestPromisedTimes:
    @given(history=histories(clock_steps=True))
    @MANY
    def test_retry_and_reset_are_exact_to_the_microsecond(self, history: History) -> None:
        """Just before it is still denied or counted; then it is not, if nothing else happens."""
        debt: Debt | None = None
        now = START
        for act in history.acts:
            now += act.elapsed - act.behind
            debt, verdict = _decide(debt, history.limit, now, act.cost, consume=True)
            if verdict.retry_at is not None:
                _, before = _decide(debt, history.limit, verdict.retry_at - 1, act.cost)
                _, then = _decide(debt, history.limit, verdict.retry_at, act.cost)

                assert (before.admits, then.admits) == (False, True)
            else:
                assert verdict.admits or act.cost > burst(history.limit)
            if verdict.used:
                _, before = _decide(debt, history.limit, verdict.reset_at - 1, 1)
                _, then = _decide(debt, history.limit, verdict.reset_at, 1)

                assert before.used > 0
                assert then.used == 0


def _decide(
    debt: Debt | None, limit: Limit, now: int, cost: int, *, consume: bool = False
) -> tuple[Debt | None, Verdict]:
    return decide(debt, now=now, limit=limit, cost=cost, consume=consume)
