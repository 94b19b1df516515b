"""The soak, cut short to some seconds, and how it judges what it measures."""

from pathlib import Path

import pytest

from cli.layout import SERVICES
from tests.faults.soak.growth import Growth, Sample, growth
from tests.faults.soak.run import soak

MIB = 1 << 20


class TestTheJudgement:
    def test_a_leak_is_seen(self) -> None:
        """A tenth more by the end is above the ceiling."""
        samples = [Sample(at=at, bytes=100 * MIB + at * MIB // 10) for at in range(101)]

        assert not growth(samples).holds

    def test_warm_up_is_none(self) -> None:
        """What is filled at the beginning, and stays, is not a leak."""
        samples = [Sample(at=at, bytes=(100 if at < 15 else 150) * MIB) for at in range(101)]
        found = growth(samples)

        assert Growth(first=100 * MIB, warm=150 * MIB, last=150 * MIB, most=150 * MIB) == found
        assert found.holds

    def test_one_sample_decides_nothing(self) -> None:
        """A peak at the very end is in the table, but is no growth."""
        samples = [Sample(at=at, bytes=(200 if at == 100 else 100) * MIB) for at in range(101)]
        found = growth(samples)

        assert found.holds
        assert 200 * MIB == found.most

    def test_warm_up_is_bounded(self) -> None:
        """In a soak of an hour what fills up after five minutes counts."""
        samples = [Sample(at=at, bytes=(100 if at < 500 else 150) * MIB) for at in range(3_600)]

        assert not growth(samples).holds

    def test_nothing_is_not_judged(self) -> None:
        """Without a sample there is nothing to say."""
        with pytest.raises(ValueError, match="no samples"):
            growth([])


@pytest.mark.timeout(150)
class TestSomeSeconds:
    async def test_everything_is_sampled_and_nothing_is_loud(self, tmp_path: Path) -> None:
        """All four services are loaded and measured; none fails but what a busy machine delays."""
        soaked = await soak(tmp_path, seconds=18, rate=40, seed=1)
        found = {name: growth(samples) for name, samples in soaked.samples.items()}

        assert {*SERVICES} == {*found}
        assert 12 <= min(len(samples) for samples in soaked.samples.values())
        assert min(each.warm for each in found.values()) > 20 * MIB
        assert [] == soaked.loud
        late = {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
        failed = soaked.counts.failed
        assert [] == [each for each in failed if each.rpartition(": ")[2] not in late]
        assert failed.total() < 0.05 * soaked.counts.done.total()
        assert 13 <= len(soaked.counts.done)
        # A leak of a kilobyte per act is two percent in this time.
        assert {name: each.share for name, each in found.items() if each.share > 0.15} == {}
