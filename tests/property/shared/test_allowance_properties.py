"""Admission under any load: never closed, never beyond its limit, fair, and open in the end."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from shared.rpc.admission import LEAST, TARGET, Allowance, fair_level
from shared.rpc.call import Tenant

counts = st.lists(st.integers(0, 300), min_size=1, max_size=8)
delays = st.floats(0, 10)


def one_interval(allowance: Allowance, wanted: list[int]) -> list[int]:
    """Let each tenant ask for its calls in turns; return how many of each were let in."""
    let_in = [0] * len(wanted)
    for turn in range(max(wanted)):
        for number, count in enumerate(wanted):
            if turn < count:
                let_in[number] += allowance.take(Tenant(f"t{number}"))
    return let_in


class TestAllowance:
    @given(st.lists(st.tuples(counts, delays), max_size=12), counts)
    def test_is_never_closed(
        self, history: list[tuple[list[int], float]], wanted: list[int]
    ) -> None:
        """After any history whoever asks is let in once at least; asking for more gets no less."""
        allowance = Allowance()
        for before, delay in history:
            one_interval(allowance, before)
            allowance.sound(delay)
        let_in = one_interval(allowance, wanted)

        assert all(got >= 1 for got, want in zip(let_in, wanted, strict=True) if want)
        ranked = sorted(zip(wanted, let_in, strict=True))
        assert [got for _, got in ranked] == sorted(let_in)

    @given(counts, st.integers(1, 20))
    def test_a_steady_load_is_cut_below_its_limit(self, wanted: list[int], times: int) -> None:
        """As long as calls wait, no more are let in than the time before, down to the least."""
        allowance = Allowance()
        sums = []
        for _ in range(times):
            sums.append(sum(one_interval(allowance, wanted)))
            allowance.sound(TARGET * 2)

        assert sums == sorted(sums, reverse=True)
        # Each tenant has one call at least, and a level is rounded up for each.
        assert sum(one_interval(allowance, wanted)) <= max(LEAST, allowance.limit) + len(wanted)

    @given(st.lists(st.tuples(counts, delays), max_size=12), counts)
    def test_opens_again(self, history: list[tuple[list[int], float]], wanted: list[int]) -> None:
        """Whatever was, after two hundred soundings without a queue everything is let in."""
        allowance = Allowance()
        for before, delay in history:
            one_interval(allowance, before)
            allowance.sound(delay)
        for _ in range(200):
            one_interval(allowance, wanted)
            allowance.sound(0.0)

        assert inf == allowance.limit
        assert wanted == one_interval(allowance, wanted)


class TestFairLevel:
    @given(st.lists(st.integers(0, 10_000), min_size=1), st.floats(1, 1e6))
    def test_uses_up_the_limit(self, wanted: list[int], limit: float) -> None:
        """All together have the limit, or all they want; or one each, where that is more."""
        level = fair_level(wanted, limit)
        given_out = sum(min(each, level) for each in wanted)

        assert given_out <= max(limit * (1 + 1e-9), len(wanted))
        assert given_out >= min(sum(wanted), limit) * (1 - 1e-9)
