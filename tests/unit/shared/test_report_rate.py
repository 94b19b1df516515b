"""How often errors are reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.report_rate import MAX_ERRORS, MINUTE, ReportRate


class TestReports:
    def test_of_one_error_are_few(self) -> None:
        """The first of a minute pass; the rest are held back, whatever comes."""
        rate = ReportRate(per_error=2, in_all=10)

        assert [0, 0, None, None] == [rate.take("a", float(now)) for now in range(4)]

    def test_say_how_many_were_held_back(self) -> None:
        """A minute later the error is reported again, with the number of those before it."""
        rate = ReportRate(per_error=1, in_all=10)
        taken = [rate.take("a", now) for now in (0.0, 1.0, 2.0, MINUTE, MINUTE + 1)]

        assert [0, None, None, 2, None] == taken

    def test_of_many_errors_are_bounded_together(self) -> None:
        """A service in which everything fails tells of some of it."""
        rate = ReportRate(per_error=5, in_all=3)

        assert [0, 0, 0, None] == [rate.take(error, 0.0) for error in "abcd"]
        assert 1 == rate.take("d", MINUTE)

    def test_tell_errors_apart(self) -> None:
        """One that is frequent hides no other."""
        rate = ReportRate(per_error=1, in_all=10)

        assert [0, None, 0] == [rate.take(error, 0.0) for error in "aab"]

    def test_errors_without_end_are_forgotten(self) -> None:
        """Memory is bounded: of more than so many, the one seen longest ago begins anew."""
        rate = ReportRate(per_error=1, in_all=10**6)
        for error in range(MAX_ERRORS + 1):
            rate.take(error, 0.0)

        assert (0, None) == (rate.take(0, 0.0), rate.take(MAX_ERRORS, 0.0))

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 20)), max_size=200))
    def test_never_more_than_twice_the_bound_in_a_minute(
        self, asked: list[tuple[str, float]]
    ) -> None:
        """Whenever a window begins; and none is lost: reported, counted, or still to be told."""
        rate, now = ReportRate(per_error=3, in_all=5), 0.0
        passed: list[float] = []
        for error, pause in asked:
            now += pause
            if rate.take(error, now) is not None:
                passed.append(now)

        for begin in passed:
            assert len([at for at in passed if begin <= at < begin + MINUTE]) <= 2 * 5


@pytest.mark.parametrize("in_all", [1, 7])
def test_a_report_counts_once(in_all: int) -> None:
    """What is held back of one error takes no room from the others."""
    rate = ReportRate(per_error=1, in_all=in_all)
    for _ in range(100):
        rate.take("a", 0.0)

    assert [0] * (in_all - 1) == [rate.take(n, 0.0) for n in range(in_all - 1)]
