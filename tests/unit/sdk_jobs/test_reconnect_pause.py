"""Workers return soon, not all at once, and for ever."""

import random

from hypothesis import given
from hypothesis import strategies as st

from mainstay.jobs.reconnect import LONGEST_PAUSE, reconnect_pause


class TestPause:
    @given(failures=st.integers(1, 10**9), seed=st.integers())
    def test_is_bounded_after_any_number_of_failures(self, failures: int, seed: int) -> None:
        """Never longer than 2 s, so that a resume window of 5 s is met; never nothing."""
        pause = reconnect_pause(failures, random.Random(seed))

        assert 0.05 <= pause <= LONGEST_PAUSE

    def test_doubles(self) -> None:
        """The upper bounds of the first pauses."""

        class Highest(random.Random):
            def uniform(self, a: float, b: float) -> float:
                return b

        assert [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0] == [
            reconnect_pause(failures, Highest()) for failures in range(1, 8)
        ]
