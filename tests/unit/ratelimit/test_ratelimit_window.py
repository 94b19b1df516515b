"""The ring, at the instants where a sliding window is easily wrong."""

import pytest

from services.ratelimit.policy import DAY, MAX_QUOTA, MAX_WINDOW, SECOND, Limit
from services.ratelimit.sliding_window import (
    BUCKETS,
    Ring,
    bucket_width,
    charge,
    decide,
    refund,
)
from services.ratelimit.verdict import Verdict

WINDOW = 60 * SECOND
WIDTH = bucket_width(WINDOW)
# The first microsecond of a bucket, far from 1970.
START = 1_700_000_000 * WIDTH
LIMIT = 10
HOUR = 3_600 * SECOND


def _limit(quota: int = LIMIT, window: int = WINDOW) -> Limit:
    return Limit(quota=quota, window=window)


def _check(
    ring: Ring | None, now: int, cost: int = 1, quota: int = LIMIT, window: int = WINDOW
) -> tuple[Ring, Verdict]:
    kept, verdict = decide(ring, now=now, limit=_limit(quota, window), cost=cost, consume=True)
    assert kept is not None
    return kept, verdict


def _peek(
    ring: Ring | None, now: int, cost: int = 1, quota: int = LIMIT, window: int = WINDOW
) -> Verdict:
    _, verdict = decide(ring, now=now, limit=_limit(quota, window), cost=cost, consume=False)
    return verdict


class TestBuckets:
    @pytest.mark.parametrize("window", [SECOND, 59 * SECOND, WINDOW, 300 * SECOND, DAY, MAX_WINDOW])
    def test_59_of_them_span_the_window(self, window: int) -> None:
        """Rounded up, so that a window never reaches back behind the 60 that are kept."""
        width = bucket_width(window)

        assert (BUCKETS - 1) * (width - 1) < window <= (BUCKETS - 1) * width


class TestAdmission:
    def test_the_first_act_is_admitted(self) -> None:
        """A subject nobody has seen has its whole limit."""
        _, verdict = _check(None, START)

        assert verdict == Verdict(
            admits=True,
            now=START,
            used=1,
            reset_at=START + BUCKETS * WIDTH,
            retry_at=None,
        )

    def test_a_cost_may_take_the_whole_limit(self) -> None:
        """Up to and including the limit."""
        ring, verdict = _check(None, START, cost=LIMIT)

        assert verdict.admits
        assert not _peek(ring, START).admits

    def test_a_denied_act_consumes_nothing(self) -> None:
        """What did not fit leaves room for what does."""
        ring, _ = _check(None, START, cost=8)
        after_denial, denied = _check(ring, START, cost=3)

        assert not denied.admits
        assert ring == after_denial
        assert _peek(after_denial, START, cost=2).admits

    def test_a_cost_above_the_limit_never_fits(self) -> None:
        """There is no moment to come back at."""
        ring, _ = _check(None, START)

        assert _peek(None, START, cost=LIMIT + 1).retry_at is None
        assert _peek(ring, START, cost=LIMIT + 1).retry_at is None
        assert not _peek(None, START, cost=LIMIT + 1).admits

    def test_a_lowered_limit_counts_what_was_consumed_before(self) -> None:
        """From 10 to 4 with 6 consumed: the next fits when enough has left."""
        ring, _ = _check(None, START, cost=6)
        verdict = _peek(ring, START, quota=4)

        assert (verdict.admits, verdict.used) == (False, 6)
        assert verdict.retry_at == START + BUCKETS * WIDTH


class TestBoundaryBurst:
    def test_two_bursts_around_a_minute_are_not_both_admitted(self) -> None:
        """Fixed windows admit 2 L within a moment there."""
        end_of_bucket = START + WIDTH - 1
        ring, first = _check(None, end_of_bucket, cost=LIMIT)
        _, second = _check(ring, end_of_bucket + 1, cost=1)

        assert first.admits
        assert not second.admits

    def test_a_burst_leaves_when_its_window_is_over_not_before(self) -> None:
        """Consumed in the last microsecond of a bucket it blocks for one window and 1 us."""
        end_of_bucket = START + WIDTH - 1
        ring, _ = _check(None, end_of_bucket, cost=LIMIT)
        freed_at = START + BUCKETS * WIDTH

        assert not _peek(ring, freed_at - 1).admits
        assert _peek(ring, freed_at).admits
        # 59 widths of 1,016,950 us are 50 us more than the minute.
        assert freed_at - end_of_bucket == WINDOW + 50 + 1

    def test_room_comes_back_at_most_a_bucket_late(self) -> None:
        """Consumed in the first microsecond of a bucket it waits longest."""
        ring, _ = _check(None, START, cost=LIMIT)
        late = START + WINDOW + WIDTH + 50

        assert _peek(ring, late).admits


class TestRetry:
    def test_it_names_the_moment_when_enough_has_left(self) -> None:
        """2 + 3 + 5 consumed in three buckets; 5 more fit when the first two have left."""
        ring, _ = _check(None, START, cost=2)
        ring, _ = _check(ring, START + 10 * WIDTH, cost=3)
        ring, _ = _check(ring, START + 20 * WIDTH, cost=5)
        now = START + 21 * WIDTH
        retry_at = _peek(ring, now, cost=5).retry_at

        assert retry_at == START + (10 + BUCKETS) * WIDTH
        assert not _peek(ring, retry_at - 1, cost=5).admits
        assert _peek(ring, retry_at, cost=5).admits


class TestClockSteppingBack:
    def test_it_frees_nothing_early(self) -> None:
        """A clock back by 30 s counts as standing still until it has caught up."""
        ring, _ = _check(None, START, cost=LIMIT)
        ring, _ = _check(ring, START - 30 * SECOND)

        assert not _peek(ring, START - 30 * SECOND + WINDOW).admits
        assert _peek(ring, START + BUCKETS * WIDTH).admits

    def test_what_is_admitted_meanwhile_counts_as_of_the_newest_bucket(self) -> None:
        """It must not be filed under a bucket that leaves too early."""
        ring, _ = _check(None, START, cost=1)
        ring, _ = _check(ring, START - 30 * SECOND, cost=LIMIT - 1)

        assert ring == Ring(window=WINDOW, newest=START // WIDTH, counters=(LIMIT,))

    def test_a_ring_from_a_year_ahead_heals_within_a_window(self) -> None:
        """Its clock was wrong; waiting a year for ours would lock the subject out."""
        year = 365 * 86_400 * SECOND
        ring, _ = _check(None, START + year, cost=LIMIT)
        healed, denied = _check(ring, START)

        assert not denied.admits
        assert denied.retry_at == START + BUCKETS * WIDTH
        assert _peek(healed, START + BUCKETS * WIDTH).admits


class TestCharges:
    def test_go_beyond_the_limit(self) -> None:
        """What has taken place counts; whether it fitted is told."""
        ring, first = charge(None, now=START, limit=_limit(), cost=LIMIT)
        ring, second = charge(ring, now=START, limit=_limit(), cost=LIMIT)

        assert [(True, LIMIT), (False, 2 * LIMIT)] == [
            (verdict.admits, verdict.used) for verdict in (first, second)
        ]
        assert not _peek(ring, START).admits

    def test_count_up_to_32_bits(self) -> None:
        """Beyond that no limit can tell the difference."""
        ring, _ = charge(None, now=START, limit=_limit(), cost=MAX_QUOTA - 1)
        ring, full = charge(ring, now=START, limit=_limit(), cost=10)
        _, still = charge(ring, now=START, limit=_limit(), cost=10)

        assert [MAX_QUOTA] * 2 == [full.used, still.used]


class TestRefunds:
    def _ring(self) -> Ring:
        """Hold 2 in the oldest bucket, 3 ten later, 4 another ten later."""
        ring, _ = _check(None, START, cost=2)
        ring, _ = _check(ring, START + 10 * WIDTH, cost=3)
        return _check(ring, START + 20 * WIDTH, cost=4)[0]

    def test_come_out_of_the_bucket_of_their_moment(self) -> None:
        """So that the rest leaves when it would have."""
        now = START + 20 * WIDTH
        ring, amount, after = refund(
            self._ring(), now=now, limit=_limit(), cost=2, admitted_at=START + 10 * WIDTH
        )

        assert (2, 7) == (amount, after.used)
        assert 5 == _peek(ring, START + 60 * WIDTH).used
        assert 4 == _peek(ring, START + 70 * WIDTH).used

    def test_take_no_more_than_that_bucket_holds(self) -> None:
        """What others consumed at other times is theirs."""
        now = START + 20 * WIDTH
        _, amount, _ = refund(
            self._ring(), now=now, limit=_limit(), cost=9, admitted_at=START + 10 * WIDTH
        )

        assert 3 == amount

    def test_without_a_moment_come_out_of_the_oldest(self) -> None:
        """Room that comes back is then never that of something younger."""
        now = START + 20 * WIDTH
        ring, amount, _ = refund(self._ring(), now=now, limit=_limit(), cost=4, admitted_at=None)

        assert 4 == amount
        assert 5 == _peek(ring, START + 60 * WIDTH).used
        assert 4 == _peek(ring, START + 70 * WIDTH).used

    @pytest.mark.parametrize("moment", [START - WIDTH, START + 30 * WIDTH, START + 61 * WIDTH])
    def test_of_what_is_not_there_give_nothing(self, moment: int) -> None:
        """Before, between, or after what was consumed."""
        now = START + 20 * WIDTH
        _, amount, _ = refund(self._ring(), now=now, limit=_limit(), cost=1, admitted_at=moment)

        assert 0 == amount

    def test_of_all_leave_nothing(self) -> None:
        """The counter is gone, as if nobody had asked."""
        now = START + 20 * WIDTH
        left = refund(self._ring(), now=now, limit=_limit(), cost=99, admitted_at=None)

        assert (None, 9, 0, now) == (left[0], left[1], left[2].used, left[2].reset_at)

    def test_of_the_newest_let_the_rest_be_reset_sooner(self) -> None:
        """A ring begins with a bucket that holds something."""
        now = START + 20 * WIDTH
        _, _, after = refund(self._ring(), now=now, limit=_limit(), cost=4, admitted_at=now)

        assert START + 70 * WIDTH == after.reset_at


class TestChangedWindow:
    def test_a_shorter_one_counts_what_it_would_hold(self) -> None:
        """From 10/h to 10/min: what was consumed 20 minutes ago has left, what was just now not."""
        ring, _ = _check(None, START, cost=3, window=HOUR)
        ring, _ = _check(ring, START + 20 * 60 * SECOND, cost=4, window=HOUR)

        assert 4 == _peek(ring, START + 20 * 60 * SECOND).used

    def test_a_longer_one_counts_what_is_remembered(self) -> None:
        """From 10/min to 10/h: it leaves an hour after it was consumed."""
        ring, _ = _check(None, START, cost=3)
        ring, _ = _check(ring, START + 30 * SECOND, window=HOUR)

        assert 4 == _peek(ring, START + HOUR, window=HOUR).used
        assert 0 == _peek(ring, START + HOUR + 2 * bucket_width(HOUR), window=HOUR).used

    def test_a_look_changes_nothing(self) -> None:
        """Only what is written takes the new form."""
        ring, _ = _check(None, START, cost=3)
        kept, _ = decide(ring, now=START, limit=_limit(1, HOUR), cost=1, consume=True)

        assert kept is ring
