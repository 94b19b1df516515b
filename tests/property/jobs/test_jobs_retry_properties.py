"""Backoff within its bounds, whatever the function declares."""

from hypothesis import given
from hypothesis import strategies as st

from services.jobs.retry import Backoff

SECONDS = st.floats(min_value=0, max_value=86_400)
RANDOM = st.floats(min_value=0, max_value=1, exclude_max=True)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    """Make a backoff that a function may declare."""
    initial, maximum = sorted((draw(SECONDS), draw(SECONDS)))
    return Backoff(initial=initial, maximum=maximum)


class TestWait:
    @given(backoff=backoffs(), failures=st.integers(1, 1000), random=RANDOM)
    def test_bounds(self, backoff: Backoff, failures: int, random: float) -> None:
        """A wait is at least half of what it doubled to and never above the maximum."""
        wait = backoff.wait(failures, random)

        assert backoff.initial / 2 <= wait <= backoff.maximum

    @given(backoff=backoffs(), failures=st.integers(1, 1000), random=RANDOM)
    def test_grows(self, backoff: Backoff, failures: int, random: float) -> None:
        """With the same luck, a later failure waits at least as long."""
        assert backoff.wait(failures, random) <= backoff.wait(failures + 1, random)
