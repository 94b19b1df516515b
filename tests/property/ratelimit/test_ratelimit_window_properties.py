"""What the window promises, on histories nobody would write down."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ratelimit.window import BUCKETS, Ring, Verdict, bucket_width, decide

SECOND = 1_000_000
# Windows that 59 divides, and such that it does not.
WINDOWS = [SECOND, 59 * SECOND, 60 * SECOND, 7_000_003, 300 * SECOND, 3_600 * SECOND]
BUCKET = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that happens `elapsed` after the one before, the clock `behind` by then."""

    elapsed: int
    behind: int
    cost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    window: int
    limit: int
    start: int
    acts: list[Act]


@st.composite
def histories(draw: st.DrawFn, *, clock_steps: bool = False) -> History:
    """Draw bursts, drips and pauses around the lengths where the ring's edges lie."""
    window = draw(st.sampled_from(WINDOWS))
    limit = draw(st.integers(1, 40))
    width = bucket_width(window)
    elapsed = st.one_of(
        st.just(0),
        st.integers(0, 3 * width),
        st.sampled_from([1, width - 1, width, width + 1, window - 1, window, window + 1]),
        st.sampled_from([(BUCKETS - 1) * width + 1, BUCKETS * width - 1, BUCKETS * width]),
        st.integers(0, 2 * window),
    )
    steps = st.just(0)
    if clock_steps:
        steps = st.one_of(steps, st.integers(0, 2 * width), st.integers(0, 3 * window))
    offset = st.one_of(st.sampled_from([0, width - 1]), st.integers(0, width - 1))
    costs = st.one_of(st.just(1), st.integers(1, limit + 1))
    acts = st.builds(Act, elapsed=elapsed, behind=steps, cost=costs)
    return History(
        window=window,
        limit=limit,
        start=BUCKET * width + draw(offset),
        acts=draw(st.lists(acts, max_size=60)),
    )


def _run(history: History) -> list[tuple[int, Act, Verdict]]:
    """Return the true time, the act and the verdict of each act."""
    ring: Ring | None = None
    true_time, behind = history.start, 0
    told = []
    for act in history.acts:
        true_time += act.elapsed
        behind += act.behind
        ring, verdict = decide(
            ring,
            now=true_time - behind,
            window=history.window,
            limit=history.limit,
            cost=act.cost,
            consume=True,
        )
        told.append((true_time, act, verdict))
    return told


def _heaviest_window(admissions: list[tuple[int, int]], window: int) -> int:
    """Return the most that any closed window holds; the heaviest ones begin with an admission."""
    return max(
        (
            sum(cost for at, cost in admissions if begin <= at <= begin + window)
            for begin, _ in admissions
        ),
        default=0,
    )


class TestBound:
    @given(history=histories())
    @settings(max_examples=400)
    def test_no_window_anywhere_admits_more_than_the_limit(self, history: History) -> None:
        """Held against an exact log of the admissions."""
        admissions = [(at, act.cost) for at, act, verdict in _run(history) if verdict.admitted]

        assert _heaviest_window(admissions, history.window) <= history.limit

    @given(history=histories(clock_steps=True))
    @settings(max_examples=400)
    def test_nor_when_the_clock_steps_back(self, history: History) -> None:
        """Windows of true time, whatever the store's clock says of it."""
        admissions = [(at, act.cost) for at, act, verdict in _run(history) if verdict.admitted]

        assert _heaviest_window(admissions, history.window) <= history.limit


class TestRoom:
    @given(history=histories())
    @settings(max_examples=400)
    def test_what_fits_with_a_bucket_to_spare_is_admitted(self, history: History) -> None:
        """A denial is never owed to what left the window a bucket ago or earlier."""
        reach = BUCKETS * bucket_width(history.window)
        admissions: list[tuple[int, int]] = []
        for now, act, verdict in _run(history):
            recent = sum(cost for at, cost in admissions if at > now - reach)
            if verdict.admitted:
                admissions.append((now, act.cost))
            else:
                assert recent + act.cost > history.limit


class TestPromisedTimes:
    @given(history=histories(clock_steps=True))
    @settings(max_examples=400)
    def test_retry_and_reset_are_exact_to_the_microsecond(self, history: History) -> None:
        """Just before it is still denied or counted; then it is not, if nothing else happens."""
        ring: Ring | None = None
        now = history.start
        for act in history.acts:
            now += act.elapsed - act.behind
            ring, verdict = _decide(ring, history, now, act.cost, consume=True)
            if verdict.retry_at is not None:
                _, before = _decide(ring, history, verdict.retry_at - 1, act.cost)
                _, then = _decide(ring, history, verdict.retry_at, act.cost)

                assert (before.admitted, then.admitted) == (False, True)
            else:
                assert verdict.admitted or act.cost > history.limit
            if verdict.used:
                _, before = _decide(ring, history, verdict.reset_at - 1, 1)
                _, then = _decide(ring, history, verdict.reset_at, 1)

                assert before.used > 0
                assert then.used == 0


def _decide(
    ring: Ring | None, history: History, now: int, cost: int, *, consume: bool = False
) -> tuple[Ring | None, Verdict]:
    return decide(
        ring, now=now, window=history.window, limit=history.limit, cost=cost, consume=consume
    )
