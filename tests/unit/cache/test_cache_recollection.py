"""What a replica remembers of entries that the store forgot."""

from services.cache.entry import MissReason
from services.cache.keys import entry_key
from services.cache.recollection import CLOCK_SLACK_MS, Recollection

KEY = entry_key("acme", "video", "1")
NOW = 1_000_000


class TestReasons:
    def test_what_was_never_seen_is_cold(self) -> None:
        """As far as this replica knows."""
        assert MissReason.COLD is Recollection().why_missing(KEY, NOW)

    def test_what_has_ended_is_expired(self) -> None:
        """At its end, and within the error of the clock before it."""
        memory = Recollection()
        memory.note(KEY, NOW)

        reasons = [memory.why_missing(KEY, NOW + late) for late in (-CLOCK_SLACK_MS, 0, 10_000)]

        assert [MissReason.EXPIRED] * 3 == reasons

    def test_what_should_still_be_there_was_evicted(self) -> None:
        """Whether it would end later or never."""
        memory, permanent = Recollection(), entry_key("acme", "ai", "1")
        memory.note(KEY, NOW + 1_000)
        memory.note(permanent, None)

        assert MissReason.EVICTED is memory.why_missing(KEY, NOW)
        assert MissReason.EVICTED is memory.why_missing(permanent, NOW)

    def test_a_longer_life_counts(self) -> None:
        """What was touched or written again ends when it was told last."""
        memory = Recollection()
        memory.note(KEY, NOW)
        memory.note(KEY, NOW + 10_000)

        assert MissReason.EVICTED is memory.why_missing(KEY, NOW + 1)

    def test_what_was_removed_is_forgotten(self) -> None:
        """The store says itself that it was, and for how long that matters."""
        memory = Recollection()
        memory.note(KEY, NOW)
        memory.note_lease(KEY, NOW)
        memory.forget(KEY)

        assert MissReason.COLD is memory.why_missing(KEY, NOW + 1)


class TestLeases:
    def test_one_that_ended_without_a_value_was_lost(self) -> None:
        """Its holder is gone, or was too slow."""
        memory = Recollection()
        memory.note_lease(KEY, NOW)

        assert MissReason.LEASE_LOST is memory.why_missing(KEY, NOW)

    def test_one_that_goes_on_leaves_the_reason_from_before(self) -> None:
        """While it is computed an entry is still missing for the reason it was."""
        memory = Recollection()
        memory.note(KEY, NOW)
        memory.note_lease(KEY, NOW + 500)
        memory.note_lease(KEY, NOW + 1_000)

        assert MissReason.EXPIRED is memory.why_missing(KEY, NOW + 1)

    def test_one_that_was_filled_is_over(self) -> None:
        """Also when the new entry ends as the old one did, or neither ever does."""
        for end in (NOW + 2_000, None):
            memory = Recollection()
            memory.note(KEY, end)
            memory.note_lease(KEY, NOW)
            memory.note(KEY, end)

            assert MissReason.EVICTED is memory.why_missing(KEY, NOW + 1)


class TestBounds:
    def test_the_newest_are_remembered(self) -> None:
        """Of many, never more than the capacity and never less than half of it."""
        memory = Recollection(capacity=100)
        keys = [entry_key("acme", "video", str(n)) for n in range(1_000)]
        for key in keys:
            memory.note(key, NOW)
            memory.note_lease(key, NOW + 1)
            memory.note(key, NOW)

        known = [key for key in keys if memory.why_missing(key, NOW) is not MissReason.COLD]

        assert 50 <= len(known) <= 100
        assert keys[-len(known) :] == known

    def test_what_is_in_use_stays(self) -> None:
        """An entry that is read again and again is no older for having been written long ago."""
        memory = Recollection(capacity=100)
        for n in range(1_000):
            memory.note(KEY, NOW)
            memory.note(entry_key("acme", "video", f"other {n}"), NOW)

        assert MissReason.EXPIRED is memory.why_missing(KEY, NOW)
