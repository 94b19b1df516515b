"""What an entry counts and until when."""

import pytest

from mainstay.errors import QuotaError
from services.cache.entry import Entry, Kind
from services.cache.frame import decode_header, encode
from services.cache.keys import EntryName
from services.cache.quota import bucket_end, charged_bytes, exceeded, identity

NAME = EntryName("acme", "video", "v1")
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


class TestBucketEnd:
    @pytest.mark.parametrize(
        ("ttl_ms", "width"),
        [
            (1, 1),
            (31 * SECOND, 1),
            (32 * SECOND, 2),
            (5 * MINUTE, 16),
            (HOUR, 128),
            (DAY, 4_096),
            (366 * DAY, 1_048_576),
        ],
    )
    def test_buckets_grow_with_the_ttl(self, ttl_ms: int, width: int) -> None:
        """A sixteenth of the TTL, rounded down to a power of two seconds, but one at least."""
        create_ms = 1_700_000_000_000

        end = bucket_end(create_ms, create_ms + ttl_ms)

        assert 0 == end % width
        assert 0 <= end * 1000 - (create_ms + ttl_ms) < width * 1000

    def test_an_entry_that_ends_on_the_second_counts_no_longer(self) -> None:
        """Only what is beyond a boundary waits for the next."""
        assert 20 == bucket_end(10_000, 20_000)
        assert 21 == bucket_end(10_000, 20_001)

    def test_a_tenant_has_few_buckets_whatever_the_ttls(self) -> None:
        """Entries of every TTL, written at any time of a year, leave less than 400 buckets."""
        now = 1_700_000_000
        ends = set()
        ttl = 1.0
        while ttl < 366 * 86_400:
            for age in range(64):
                create = int(now - ttl * age / 64)
                end = bucket_end(create * 1000, int((create + ttl) * 1000))
                ends.add(end)
            ttl *= 1.02

        assert 300 < len({end for end in ends if end > now}) < 400


class TestChargedBytes:
    def test_all_that_is_stored_counts(self) -> None:
        """The value, the key, the tags, and what Redis needs for an entry."""
        bare = charged_bytes(NAME, 0)

        assert 900 == charged_bytes(NAME, 800) - bare
        assert bare < charged_bytes(NAME, 0, ("user:42",))
        assert bare < charged_bytes(EntryName("acme", "video", "v" * 100), 0)
        assert bare < charged_bytes(NAME, 0, permanent=True)


class TestIdentity:
    def test_a_header_tells_as_much_as_the_entry(self) -> None:
        """Scripts return headers; they must lead to what was booked from the entry."""
        for kind in Kind:
            entry = Entry(b"1", "", 7, 1_000, None, None, 0, kind=kind, charged=5)
            header = decode_header(encode(entry))

            assert header is not None
            assert identity(entry) == identity(header)

    def test_a_write_makes_another_value_but_a_push_the_same_list(self) -> None:
        """What is pushed to a list must not lose its place in the books."""
        value = Entry(b"1", "", 7, 1_000, None, None, 0)
        items = value._replace(kind=Kind.LIST)

        assert identity(value) != identity(value._replace(version=8))
        assert identity(items) == identity(items._replace(version=8))
        assert identity(items) != identity(items._replace(create_ms=1_001))


class TestExceeded:
    def test_the_error_names_quota_use_and_way_out(self) -> None:
        """Whoever reads it knows which number to look at and what helps."""
        error = exceeded("entries", used=10, limit=10, asked=1)

        assert isinstance(error, QuotaError)
        assert {"entries"} == set(error.violations)
        assert "10 of 10 are used" in error.violations["entries"]
        assert "raise the quota" in error.violations["entries"]
