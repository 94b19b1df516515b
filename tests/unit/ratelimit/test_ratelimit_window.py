"""The ring, at the instants where a sliding window is easily wrong."""

import pytest

from services.ratelimit.window import BUCKETS, Ring, Verdict, bucket_width, decide

SECOND = 1_000_000
WINDOW = 60 * SECOND
WIDTH = bucket_width(WINDOW)
# The first microsecond of a bucket, far from 1970.
START = 1_700_000_000 * WIDTH
LIMIT = 10


def _check(ring: Ring | None, now: int, cost: int = 1, limit: int = LIMIT) -> tuple[Ring, Verdict]:
    kept, verdict = decide(ring, now=now, window=WINDOW, limit=limit, cost=cost, consume=True)
    assert kept is not None
    return kept, verdict


def _peek(ring: Ring | None, now: int, cost: int = 1, limit: int = LIMIT) -> Verdict:
    _, verdict = decide(ring, now=now, window=WINDOW, limit=limit, cost=cost, consume=False)
    return verdict


class TestBuckets:
    @pytest.mark.parametrize("window", [1, 59, 60, SECOND, WINDOW, 300 * SECOND, 86_400 * SECOND])
    def test_59_of_them_span_the_window(self, window: int) -> None:
        """Rounded up, so that a window never reaches back behind the 60 that are kept."""
        width = bucket_width(window)

        assert (BUCKETS - 1) * (width - 1) < window <= (BUCKETS - 1) * width


class TestAdmission:
    def test_the_first_act_is_admitted(self) -> None:
        """A subject nobody has seen has its whole limit."""
        _, verdict = _check(None, START)

        assert verdict == Verdict(
            admitted=True,
            now=START,
            used=1,
            reset_at=START + BUCKETS * WIDTH,
            retry_at=None,
        )

    def test_a_cost_may_take_the_whole_limit(self) -> None:
        """Up to and including the limit."""
        ring, verdict = _check(None, START, cost=LIMIT)

        assert verdict.admitted
        assert not _peek(ring, START).admitted

    def test_a_denied_act_consumes_nothing(self) -> None:
        """What did not fit leaves room for what does."""
        ring, _ = _check(None, START, cost=8)
        after_denial, denied = _check(ring, START, cost=3)

        assert not denied.admitted
        assert ring == after_denial
        assert _peek(after_denial, START, cost=2).admitted

    def test_a_cost_above_the_limit_never_fits(self) -> None:
        """There is no moment to come back at."""
        ring, _ = _check(None, START)

        assert _peek(None, START, cost=LIMIT + 1).retry_at is None
        assert _peek(ring, START, cost=LIMIT + 1).retry_at is None
        assert not _peek(None, START, cost=LIMIT + 1).admitted

    def test_a_lowered_limit_counts_what_was_consumed_before(self) -> None:
        """From 10 to 4 with 6 consumed: the next fits when enough has left."""
        ring, _ = _check(None, START, cost=6)
        verdict = _peek(ring, START, limit=4)

        assert (verdict.admitted, verdict.used) == (False, 6)
        assert verdict.retry_at == START + BUCKETS * WIDTH


class TestBoundaryBurst:
    def test_two_bursts_around_a_minute_are_not_both_admitted(self) -> None:
        """Fixed windows admit 2 L within a moment there."""
        end_of_bucket = START + WIDTH - 1
        ring, first = _check(None, end_of_bucket, cost=LIMIT)
        _, second = _check(ring, end_of_bucket + 1, cost=1)

        assert first.admitted
        assert not second.admitted

    def test_a_burst_leaves_when_its_window_is_over_not_before(self) -> None:
        """Consumed in the last microsecond of a bucket it blocks for one window and 1 us."""
        end_of_bucket = START + WIDTH - 1
        ring, _ = _check(None, end_of_bucket, cost=LIMIT)
        freed_at = START + BUCKETS * WIDTH

        assert not _peek(ring, freed_at - 1).admitted
        assert _peek(ring, freed_at).admitted
        # 59 widths of 1,016,950 us are 50 us more than the minute.
        assert freed_at - end_of_bucket == WINDOW + 50 + 1

    def test_room_comes_back_at_most_a_bucket_late(self) -> None:
        """Consumed in the first microsecond of a bucket it waits longest."""
        ring, _ = _check(None, START, cost=LIMIT)
        late = START + WINDOW + WIDTH + 50

        assert _peek(ring, late).admitted


class TestRetry:
    def test_it_names_the_moment_when_enough_has_left(self) -> None:
        """2 + 3 + 5 consumed in three buckets; 5 more fit when the first two have left."""
        ring, _ = _check(None, START, cost=2)
        ring, _ = _check(ring, START + 10 * WIDTH, cost=3)
        ring, _ = _check(ring, START + 20 * WIDTH, cost=5)
        now = START + 21 * WIDTH
        retry_at = _peek(ring, now, cost=5).retry_at

        assert retry_at == START + (10 + BUCKETS) * WIDTH
        assert not _peek(ring, retry_at - 1, cost=5).admitted
        assert _peek(ring, retry_at, cost=5).admitted


class TestClockSteppingBack:
    def test_it_frees_nothing_early(self) -> None:
        """A clock back by 30 s counts as standing still until it has caught up."""
        ring, _ = _check(None, START, cost=LIMIT)
        ring, _ = _check(ring, START - 30 * SECOND)

        assert not _peek(ring, START - 30 * SECOND + WINDOW).admitted
        assert _peek(ring, START + BUCKETS * WIDTH).admitted

    def test_what_is_admitted_meanwhile_counts_as_of_the_newest_bucket(self) -> None:
        """It must not be filed under a bucket that leaves too early."""
        ring, _ = _check(None, START, cost=1)
        ring, _ = _check(ring, START - 30 * SECOND, cost=LIMIT - 1)

        assert ring == Ring(newest=START // WIDTH, counters=(LIMIT,))

    def test_a_ring_from_a_year_ahead_heals_within_a_window(self) -> None:
        """Its clock was wrong; waiting a year for ours would lock the subject out."""
        year = 365 * 86_400 * SECOND
        ring, _ = _check(None, START + year, cost=LIMIT)
        healed, denied = _check(ring, START)

        assert not denied.admitted
        assert denied.retry_at == START + BUCKETS * WIDTH
        assert _peek(healed, START + BUCKETS * WIDTH).admitted
