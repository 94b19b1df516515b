"""Recorded checks of some subjects."""

import zlib

import pytest

from services.ratelimit.traffic import RANKS, Batch, RecordedCheck, Sample, decode, encode, rank
from shared.rpc.call import Tenant

ACME = Tenant("acme")


def _check(subject: str, at: int = 0) -> RecordedCheck:
    return RecordedCheck(at, ACME, subject, "chat", "", 1)


class TestRank:
    def test_is_the_same_everywhere(self) -> None:
        """Replicas that do not know each other choose the same subjects."""
        assert 0xE0460F50 == rank("acme", "user:1")

    def test_is_spread_evenly(self) -> None:
        """Of subjects that are numbered one after the other, too."""
        below = sum(rank("acme", f"user:{number}") < RANKS // 4 for number in range(10_000))

        assert 2_300 < below < 2_700

    def test_differs_between_tenants(self) -> None:
        """The subjects of one are not those of all."""
        assert rank("acme", "user:1") != rank("other", "user:1")


class TestSample:
    def test_counts_what_is_alike(self) -> None:
        """A subject that asks all the time takes no more room than others."""
        sample = Sample(size=3)
        for _ in range(1_000):
            sample.add(_check("busy"))

        assert ({_check("busy"): 1_000}, RANKS) == (sample.checks, sample.bound)

    def test_of_too_many_subjects_keeps_some(self) -> None:
        """And says what share of them it is."""
        sample = Sample(size=100)
        for number in range(10_000):
            check = _check(f"user:{number}")
            if sample.takes(ACME, check.subject):
                sample.add(check)

        share = sample.bound / RANKS
        assert 50 <= len(sample.checks) <= 100
        assert 0.005 < share < 0.011

    def test_of_one_subject_that_is_too_much_is_empty(self) -> None:
        """It does not go on for ever."""
        sample = Sample(size=10)
        for at in range(11):
            sample.add(_check("busy", at))

        assert {} == sample.checks


class TestEncoding:
    def test_takes_little_room(self) -> None:
        """Five hundred checks are a few kilobytes."""
        checks = {_check(f"user:{number}", number * 100_000): 1 for number in range(500)}

        assert len(encode(Batch(0, RANKS, checks))) < 6_000

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"junk",
            zlib.compress(b"junk"),
            zlib.compress(b"[]"),
            zlib.compress(b'{"begin": 1}'),
            zlib.compress(b'{"begin": 1, "bound": 1, "texts": ["a"], "columns": [[1], [0]]}'),
            zlib.compress(b'{"begin": 1, "bound": 1, "texts": [], "columns": [[1], [0], [0]]}'),
        ],
    )
    def test_what_is_no_batch_is_told_by_one_error(self, data: bytes) -> None:
        """Another version wrote it, or somebody else."""
        with pytest.raises(ValueError, match="no batch of recorded checks"):
            decode(data)
