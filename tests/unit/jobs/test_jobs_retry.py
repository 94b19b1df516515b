"""The wait before the next attempt."""

import pytest

from services.jobs.retry import Backoff


class TestWait:
    @pytest.mark.parametrize(
        ("failures", "random", "expected"),
        [
            (1, 0.0, 0.5),
            (1, 1.0, 1.0),
            (2, 0.0, 1.0),
            (2, 0.5, 1.5),
            (4, 1.0, 8.0),
            (5, 1.0, 10.0),
            (5, 0.0, 5.0),
            (100_000, 1.0, 10.0),
        ],
    )
    def test_doubles_up_to_the_maximum(self, failures: int, random: float, expected: float) -> None:
        """The wait doubles with each failure up to the maximum; half of it is chance."""
        backoff = Backoff(initial=1.0, maximum=10.0)

        assert expected == backoff.wait(failures, random)

    def test_none(self) -> None:
        """A function without a backoff is tried again at once."""
        backoff = Backoff(initial=0.0, maximum=0.0)

        assert backoff.wait(3, 0.7) == 0.0
