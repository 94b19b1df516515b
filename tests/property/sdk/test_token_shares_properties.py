"""Whatever is spent, added and ended in whatever order: the books of shares balance."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from mainstay.ratelimit.results import Decision
from mainstay.ratelimit.shares import Share, Shares

SIZE = 20
DECISION = Decision(
    allowed=True,
    rule="chat",
    plan="",
    limit=100,
    window=60.0,
    remaining=50,
    reset_time=None,
    retry_after=None,
    headers={},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Time passes, what is lacking is granted in part or not, and something is spent."""

    passes: float
    granted: float
    lasts: float
    cost: int


STEPS = st.lists(
    st.builds(
        Step,
        passes=st.floats(0, 5),
        granted=st.floats(0, 1),
        lasts=st.floats(1, 10),
        cost=st.integers(1, SIZE),
    ),
    max_size=40,
)


class TestBooks:
    @given(steps=STEPS)
    def test_balance(self, steps: list[Step]) -> None:
        """What was granted was spent, came back or is there; never more than the size is there."""
        shares, now, granted, spent, back = Shares(SIZE), 0.0, 0, 0, 0
        for number, step in enumerate(steps):
            now += step.passes
            back += sum(share.left for share in shares.remove_ended(now))
            amount = int(shares.lacking(now) * step.granted)
            if amount:
                added = Share(
                    token=str(number),
                    left=amount,
                    ages=now + step.lasts * 0.75,
                    ends=now + step.lasts,
                    decision=DECISION,
                )
                back += sum(share.left for share in shares.add(added, now))
                granted += amount
            enough = shares.held(now) >= step.cost
            took = shares.take(step.cost, now) is not None
            spent += step.cost if took else 0

            assert enough == took
            assert shares.held(now) <= SIZE
            assert granted == spent + back + shares.held(now)
