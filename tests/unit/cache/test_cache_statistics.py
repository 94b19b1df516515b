"""What is counted for one group, and how many groups there can be."""

from services.cache.entry import Entry, Kind, MissReason
from services.cache.keys import EntryName
from services.cache.statistics import (
    OTHER,
    CacheStatistics,
    Group,
    Tally,
    counters,
    from_counters,
    total,
)

NAME = EntryName("acme", "video", "1")
PLAIN = Entry(b"v", "", 1, 1, None, None, 1, ttl_class="general")
COMPUTED = PLAIN._replace(compute_ms=250)
GROUP = Group("acme", "video", "general")


def one_of_each() -> Tally:
    """Return a tally in which nothing is zero."""
    return Tally(
        hits=5,
        stale_hits=2,
        misses={reason: 3 for reason in MissReason if reason is not MissReason.NEGATIVE},
        computations=4,
        computations_saved=6,
        saved_ms=700,
        fills_refused=1,
    )


class TestHits:
    def test_of_plain_values_save_no_computation(self) -> None:
        """Nobody knows what it took to get them."""
        statistics = CacheStatistics()
        statistics.hit(NAME, PLAIN, stale=False)

        assert [(GROUP, Tally(hits=1))] == statistics.drain()

    def test_of_computed_values_save_their_computation(self) -> None:
        """Stale ones too: somebody got an answer at once."""
        statistics = CacheStatistics()
        statistics.hit(NAME, COMPUTED, stale=False)
        statistics.hit(NAME, COMPUTED, stale=True)

        expected = Tally(hits=2, stale_hits=1, computations_saved=2, saved_ms=500)
        assert [(GROUP, expected)] == statistics.drain()

    def test_of_negatives_count_however_they_are_told(self) -> None:
        """The cache knew the answer: that there is none."""
        statistics = CacheStatistics()
        statistics.hit(NAME, PLAIN._replace(kind=Kind.NEGATIVE), stale=False)
        statistics.miss(NAME, "general", MissReason.NEGATIVE)

        assert [(GROUP, Tally(hits=2))] == statistics.drain()


class TestMisses:
    def test_are_told_apart_by_their_reason(self) -> None:
        """Each says what could be done about it."""
        statistics = CacheStatistics()
        for reason in (MissReason.COLD, MissReason.TAG, MissReason.COLD):
            statistics.miss(NAME, "", reason)

        expected = Tally(misses={MissReason.COLD: 2, MissReason.TAG: 1})
        assert [(Group("acme", "video", ""), expected)] == statistics.drain()


class TestComputations:
    def test_fills_and_those_who_waited(self) -> None:
        """Who waited missed, but spared the source."""
        statistics = CacheStatistics()
        statistics.filled(NAME, "general")
        statistics.refused(NAME, "general")
        statistics.waited(NAME, COMPUTED)

        expected = Tally(computations=1, fills_refused=1, computations_saved=1, saved_ms=250)
        assert [(GROUP, expected)] == statistics.drain()


class TestRates:
    def test_hits_by_reads(self) -> None:
        """And zero when there were no reads."""
        assert Tally().hit_rate == 0.0
        assert Tally(hits=3, misses={MissReason.COLD: 1}).hit_rate == 0.75


class TestGroups:
    def test_beyond_the_bound_are_counted_together(self) -> None:
        """A caller that invents namespaces makes nothing grow, and every count is kept."""
        statistics = CacheStatistics(max_groups=2)
        for n in range(10):
            statistics.hit(EntryName("acme", f"ns{n}", "1"), PLAIN, stale=False)

        drained = dict(statistics.drain())

        assert 3 == len(drained)
        assert Tally(hits=8) == drained[Group("acme", OTHER, "")]

    def test_of_too_many_tenants_too(self) -> None:
        """Their number has no bound either."""
        statistics = CacheStatistics(max_groups=2)
        for n in range(10):
            statistics.hit(EntryName(f"tenant{n}", "video", "1"), PLAIN, stale=False)

        drained = dict(statistics.drain())

        assert 5 == len(drained)
        assert Tally(hits=6) == drained[Group(OTHER, OTHER, "")]
        assert 10 == total(drained.values()).hits

    def test_begin_anew_after_a_drain(self) -> None:
        """What was handed over is handed over once."""
        statistics = CacheStatistics()
        statistics.hit(NAME, PLAIN, stale=False)

        assert 1 == len(statistics.drain())
        assert [] == statistics.drain()


class TestStored:
    def test_counters_come_back_as_they_went(self) -> None:
        """Every figure and every reason."""
        tally = one_of_each()

        assert tally == from_counters(dict(counters(tally)))

    def test_what_a_later_version_counts_is_passed_over(self) -> None:
        """During a rolling update it writes into the same hashes."""
        assert Tally(hits=1) == from_counters({"hits": 1, "miss_new": 2, "else": 3})

    def test_a_sum_keeps_the_parts_as_they_are(self) -> None:
        """They are somebody else's."""
        parts = [one_of_each(), one_of_each()]
        together = total(parts)

        assert 2 * parts[0].hits == together.hits
        assert 2 * parts[0].missed == together.missed
        assert [one_of_each(), one_of_each()] == parts
