"""Recorded checks: what a subject did is there completely, or not at all."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.ratelimit.traffic import (
    RANKS,
    Batch,
    RecordedCheck,
    Sample,
    decode,
    encode,
    rank,
)
from shared.rpc.call import Tenant

CHECKS = st.builds(
    RecordedCheck,
    at=st.integers(min_value=1_700_000_000_000_000, max_value=1_700_000_900_000_000),
    tenant=st.sampled_from([Tenant("acme"), Tenant("other")]),
    subject=st.text(min_size=1, max_size=5),
    endpoint=st.sampled_from(["a", "/b/c", "ä"]),
    plan=st.sampled_from(["", "pro"]),
    cost=st.integers(min_value=1, max_value=1_000_000),
)
BATCHES = st.builds(
    Batch,
    begin=st.just(1_700_000_000_000_000),
    bound=st.integers(min_value=0, max_value=RANKS),
    checks=st.dictionaries(CHECKS, st.integers(min_value=1, max_value=10_000), max_size=20),
)


class TestBatch:
    @given(BATCHES)
    def test_is_read_as_it_was_written(self, batch: Batch) -> None:
        """Whatever stands in it."""
        assert batch == decode(encode(batch))


class TestSample:
    @given(st.lists(CHECKS), st.integers(1, 20), st.integers(1, 40))
    def test_holds_all_checks_of_the_subjects_below_its_bound(
        self, checks: list[RecordedCheck], size: int, total: int
    ) -> None:
        """And none of the others, and never too many."""
        sample = Sample(size=size, total=total)
        for check in checks:
            if sample.takes(check.tenant, check.subject):
                sample.add(check)

        complete = Counter(
            check for check in checks if rank(check.tenant, check.subject) < sample.bound
        )
        assert complete == sample.checks
        assert len(sample.checks) <= size
        assert sum(sample.checks.values()) <= total

    @given(st.lists(BATCHES, max_size=4))
    def test_of_several_batches_holds_whom_all_of_them_recorded(self, batches: list[Batch]) -> None:
        """A subject that one of them left out is complete in none."""
        sample, everything = Sample(size=1_000), Counter[RecordedCheck]()
        for batch in batches:
            own = {c: n for c, n in batch.checks.items() if rank(c.tenant, c.subject) < batch.bound}
            sample.lower(batch.bound)
            for check, count in own.items():
                everything[check] += count
                if sample.takes(check.tenant, check.subject):
                    sample.add(check, count)

        bound = min((batch.bound for batch in batches), default=RANKS)
        expected = {c: n for c, n in everything.items() if rank(c.tenant, c.subject) < bound}
        assert (bound, expected) == (sample.bound, sample.checks)
