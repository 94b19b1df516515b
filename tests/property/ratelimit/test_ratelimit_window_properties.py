"""What the sliding window promises, on histories nobody would write down."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ratelimit.policy import MAX_QUOTA, SECOND, Limit
from services.ratelimit.sliding_window import (
    BUCKETS,
    Ring,
    bucket_width,
    charge,
    decide,
    refund,
)
from services.ratelimit.verdict import Verdict

# Windows that 59 divides, and such that it does not.
WINDOWS = [SECOND, 59 * SECOND, 60 * SECOND, 300 * SECOND, 3_600 * SECOND]
BUCKET = 1_000_000_000

MANY = settings(max_examples=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that happens `elapsed` after the one before, the clock `behind` by then."""

    elapsed: int
    behind: int
    cost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    limit: Limit
    start: int
    acts: list[Act]


def elapsed_times(window: int) -> st.SearchStrategy[int]:
    """Draw bursts, drips and pauses around the lengths where the ring's edges lie."""
    width = bucket_width(window)
    return st.one_of(
        st.just(0),
        st.integers(0, 3 * width),
        st.sampled_from([1, width - 1, width, width + 1, window - 1, window, window + 1]),
        st.sampled_from([(BUCKETS - 1) * width + 1, BUCKETS * width - 1, BUCKETS * width]),
        st.integers(0, 2 * window),
    )


@st.composite
def histories(draw: st.DrawFn, *, clock_steps: bool = False) -> History:
    window = draw(st.sampled_from(WINDOWS))
    quota = draw(st.integers(1, 40))
    width = bucket_width(window)
    steps = st.just(0)
    if clock_steps:
        steps = st.one_of(steps, st.integers(0, 2 * width), st.integers(0, 3 * window))
    offset = st.one_of(st.sampled_from([0, width - 1]), st.integers(0, width - 1))
    costs = st.one_of(st.just(1), st.integers(1, quota + 1))
    acts = st.builds(Act, elapsed=elapsed_times(window), behind=steps, cost=costs)
    return History(
        limit=Limit(quota=quota, window=window),
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
            ring, now=true_time - behind, limit=history.limit, cost=act.cost, consume=True
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
    @MANY
    def test_no_window_anywhere_admits_more_than_the_limit(self, history: History) -> None:
        """Held against an exact log of the admissions."""
        admissions = [(at, act.cost) for at, act, verdict in _run(history) if verdict.admits]

        assert _heaviest_window(admissions, history.limit.window) <= history.limit.quota

    @given(history=histories(clock_steps=True))
    @MANY
    def test_nor_when_the_clock_steps_back(self, history: History) -> None:
        """Windows of true time, whatever the store's clock says of it."""
        admissions = [(at, act.cost) for at, act, verdict in _run(history) if verdict.admits]

        assert _heaviest_window(admissions, history.limit.window) <= history.limit.quota


class Log:
    """An exact log beside a ring, under limits that change.

    It forgets what a window in force let the ring forget: what was admitted before a longer window
    came, and had left the shorter one by then, nobody can count any more.
    """

    def __init__(self) -> None:
        self.ring: Ring | None = None
        self._held: list[list[int]] = []  # when, and how much of it was not given back

    def check(self, now: int, limit: Limit, cost: int) -> int | None:
        """Decide; returns what the window that ends now holds when it was admitted."""
        self.ring, verdict = decide(self.ring, now=now, limit=limit, cost=cost, consume=True)
        if not verdict.admits:
            return None
        self._keep(now, limit, cost)
        return sum(held for at, held in self._held if at >= now - limit.window)

    def charge(self, now: int, limit: Limit, cost: int) -> None:
        self.ring, _ = charge(self.ring, now=now, limit=limit, cost=cost)
        self._keep(now, limit, cost)

    def refund(self, now: int, limit: Limit, cost: int, number: int | None) -> int:
        """Give back of an entry, or of the oldest that the ring still counts; returns how much."""
        if number is not None and not self._held:
            return 0
        entry = None if number is None else self._held[number % len(self._held)]
        self.ring, amount, _ = refund(
            self.ring,
            now=now,
            limit=limit,
            cost=cost if entry is None else min(cost, entry[1]),
            admitted_at=None if entry is None else entry[0],
        )
        if amount:  # the ring was written, and what it did not count any more is gone
            self._held = self._counted(now, limit)
        for each in self._held if entry is None else [entry]:
            taken = min(each[1], amount)
            each[1] -= taken
            amount -= taken
        return amount

    def _counted(self, now: int, limit: Limit) -> list[list[int]]:
        width = bucket_width(limit.window)
        return [each for each in self._held if each[0] // width > now // width - BUCKETS]

    def _keep(self, now: int, limit: Limit, cost: int) -> None:
        self._held = self._counted(now, limit)
        self._held.append([now, cost])


@st.composite
def changing_limits(draw: st.DrawFn) -> list[tuple[int, str, Limit, int, int]]:
    """Draw when something happens, what, under which limit, how much, and of which entry."""
    now, limit = BUCKET * 60 * SECOND, Limit(quota=draw(st.integers(1, 6)), window=60 * SECOND)
    changes, kinds = (
        draw(st.booleans()),
        ["check"] * 3
        + draw(st.sampled_from([["refund"], ["refund_oldest"], ["charge"], ["refund", "charge"]])),
    )
    steps = []
    for _ in range(draw(st.integers(1, 40))):
        if changes and draw(st.integers(0, 5)) == 0:
            window = draw(st.sampled_from(WINDOWS))
            limit = Limit(quota=draw(st.integers(1, 6)), window=window)
        now += draw(st.one_of(elapsed_times(limit.window), st.integers(0, limit.window // 2)))
        cost = draw(st.one_of(st.just(1), st.integers(1, limit.quota)))
        steps.append((now, draw(st.sampled_from(kinds)), limit, cost, draw(st.integers(0, 20))))
    return steps


class TestBoundUnderChange:
    @given(steps=changing_limits())
    @settings(max_examples=300)
    def test_what_is_admitted_fits_all_that_the_ring_may_know_of(
        self, steps: list[tuple[int, str, Limit, int, int]]
    ) -> None:
        """Net of refunds, with charges beyond the limit, and when quota or window change."""
        log = Log()
        for now, act, limit, cost, number in steps:
            match act:
                case "check":
                    held = log.check(now, limit, cost)

                    assert held is None or held <= limit.quota
                case "charge":
                    log.charge(now, limit, cost)
                case "refund":
                    assert log.refund(now, limit, cost, number) == 0
                case "refund_oldest":
                    log.refund(now, limit, cost, None)

    @given(steps=changing_limits())
    @MANY
    def test_the_ring_keeps_its_form(self, steps: list[tuple[int, str, Limit, int, int]]) -> None:
        """At most 60 buckets, the first not empty, and never more than fits 32 bits."""
        ring: Ring | None = None
        for now, act, limit, cost, number in steps:
            if act == "charge":
                ring, _ = charge(ring, now=now, limit=limit, cost=cost * number * MAX_QUOTA // 50)
            elif act == "check":
                ring, _ = decide(ring, now=now, limit=limit, cost=cost, consume=True)
            else:
                ring, _, _ = refund(ring, now=now, limit=limit, cost=cost, admitted_at=None)

            assert ring is None or 1 <= len(ring.counters) <= BUCKETS
            assert ring is None or ring.counters[0] > 0
            assert ring is None or sum(ring.counters) <= MAX_QUOTA


class TestRefunds:
    @given(history=histories(), cost=st.integers(1, 50), back=st.integers(0, 60))
    @MANY
    def test_never_lift_what_remains_above_the_limit(
        self, history: History, cost: int, back: int
    ) -> None:
        """What comes back was used before, and not more of it than was asked for."""
        ring: Ring | None = None
        now = history.start
        for act in history.acts:
            now += act.elapsed
            ring, before = decide(ring, now=now, limit=history.limit, cost=act.cost, consume=True)
            ring, amount, after = refund(
                ring,
                now=now,
                limit=history.limit,
                cost=cost,
                admitted_at=now - back * bucket_width(history.limit.window),
            )

            assert 0 <= amount <= min(cost, before.used)
            assert after.used == before.used - amount

    @given(history=histories(), cost=st.integers(1, 50))
    @MANY
    def test_of_the_oldest_free_nothing_that_is_younger(self, history: History, cost: int) -> None:
        """What is left leaves when it would have, and what came back does not leave again."""
        ring: Ring | None = None
        now = history.start
        for act in history.acts:
            now += act.elapsed
            ring, _ = _decide(ring, history, now, act.cost, consume=True)
        left, amount, after = refund(
            ring, now=now, limit=history.limit, cost=cost, admitted_at=None
        )
        for age in range(BUCKETS + 1):
            later = now + age * bucket_width(history.limit.window)
            would, does = (_decide(each, history, later, 1)[1].used for each in (ring, left))

            assert min(would, after.used) == does
        assert amount == min(cost, after.used + amount)


class TestRoom:
    @given(history=histories())
    @MANY
    def test_what_fits_with_a_bucket_to_spare_is_admitted(self, history: History) -> None:
        """A denial is never owed to what left the window a bucket ago or earlier."""
        reach = BUCKETS * bucket_width(history.limit.window)
        admissions: list[tuple[int, int]] = []
        for now, act, verdict in _run(history):
            recent = sum(cost for at, cost in admissions if at > now - reach)
            if verdict.admits:
                admissions.append((now, act.cost))
            else:
                assert recent + act.cost > history.limit.quota


class TestPromisedTimes:
    @given(history=histories(clock_steps=True))
    @MANY
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

                assert (before.admits, then.admits) == (False, True)
            else:
                assert verdict.admits or act.cost > history.limit.quota
            if verdict.used:
                _, before = _decide(ring, history, verdict.reset_at - 1, 1)
                _, then = _decide(ring, history, verdict.reset_at, 1)

                assert before.used > 0
                assert then.used == 0


def _decide(
    ring: Ring | None, history: History, now: int, cost: int, *, consume: bool = False
) -> tuple[Ring | None, Verdict]:
    return decide(ring, now=now, limit=history.limit, cost=cost, consume=consume)
