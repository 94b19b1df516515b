"""However counting, handing over and merging are interleaved, nothing is lost or counted twice."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.cache.entry import Entry, MissReason
from services.cache.keys import EntryName
from services.cache.statistics import CacheStatistics, Tallies, Tally, total

ENTRY = Entry(b"", "", 1, 1, None, None, 1)
names = st.builds(
    EntryName, st.sampled_from("ab"), st.sampled_from(["x", "y", "z"]), st.just("key")
)
classes = st.sampled_from(["", "general", "analytics"])
hits = st.tuples(st.just("hit"), names, classes, st.integers(0, 3), st.booleans())
misses = st.tuples(st.just("miss"), names, classes, st.sampled_from(MissReason))
fills = st.tuples(st.sampled_from(["filled", "refused"]), names, classes)
waits = st.tuples(st.just("waited"), names, classes, st.integers(0, 3))
# Handing over to somebody who keeps it, or who gives it back because it could not be written.
drains = st.tuples(st.sampled_from(["drain", "fail"]))
steps = st.lists(hits | misses | fills | waits | drains, max_size=60)


class TestSums:
    @given(steps, st.integers(1, 6))
    def test_are_what_was_counted(self, walk: list[tuple[object, ...]], max_groups: int) -> None:
        """Whatever the order, and however few groups there may be."""
        statistics, waiting = CacheStatistics(max_groups), Tallies(max_groups)
        written: list[Tally] = []
        expected: Counter[str] = Counter()
        for step in walk:
            match step:
                case ("hit", EntryName() as name, str(ttl_class), int(ms), bool(stale)):
                    entry = ENTRY._replace(ttl_class=ttl_class, compute_ms=ms)
                    statistics.hit(name, entry, stale=stale)
                    expected.update(hits=1, stale=int(stale), saved=int(ms > 0), ms=ms)
                case ("miss", EntryName() as name, str(ttl_class), MissReason() as reason):
                    statistics.miss(name, ttl_class, reason)
                    known = reason is MissReason.NEGATIVE
                    expected.update(hits=int(known), misses=int(not known))
                case ("filled", EntryName() as name, str(ttl_class)):
                    statistics.filled(name, ttl_class)
                    expected.update(filled=1)
                case ("refused", EntryName() as name, str(ttl_class)):
                    statistics.refused(name, ttl_class)
                    expected.update(refused=1)
                case ("waited", EntryName() as name, str(ttl_class), int(ms)):
                    statistics.waited(name, ENTRY._replace(ttl_class=ttl_class, compute_ms=ms))
                    expected.update(saved=1, ms=ms)
                case ("drain",):
                    waiting.add(statistics.drain())
                    written += [tally for _, tally in waiting.drain()]
                case _:
                    waiting.add(statistics.drain())
        rest = [tally for _, tally in (*waiting.drain(), *statistics.drain())]
        found = total([*written, *rest])

        assert (found.hits, found.stale_hits, found.missed) == (
            expected["hits"],
            expected["stale"],
            expected["misses"],
        )
        assert (found.computations, found.fills_refused) == (
            expected["filled"],
            expected["refused"],
        )
        assert (found.computations_saved, found.saved_ms) == (expected["saved"], expected["ms"])

    @given(steps, st.integers(1, 6))
    def test_need_a_bounded_number_of_groups(
        self, walk: list[tuple[object, ...]], max_groups: int
    ) -> None:
        """Each tenant's own, twice as many with those for all others, and one for all tenants."""
        statistics = CacheStatistics(max_groups)
        for step in walk:
            if isinstance(step[1] if len(step) > 1 else None, EntryName):
                statistics.filled(step[1], str(step[2]))  # type: ignore[arg-type]

        assert len(statistics.drain()) <= 2 * max_groups + 1
