"""Decisions as response headers, in both dialects."""

from services.ratelimit.decision import Decision, LimitState
from services.ratelimit.headers import response_headers
from services.ratelimit.policy import SECOND, Limit


def _decision(
    *, remaining: int, reset_after: int, retry_after: int | None = None, limited: bool = True
) -> Decision:
    state = LimitState(
        limit=Limit(quota=100, window=60 * SECOND),
        remaining=remaining,
        reset_at=0,
        reset_after=reset_after,
    )
    return Decision(
        allowed=retry_after is None,
        rule="api",
        plan="",
        state=state if limited else None,
        retry_after=retry_after,
    )


class TestResponseHeaders:
    def test_both_dialects_say_the_same(self) -> None:
        """The older three headers and the pair of the IETF's draft."""
        headers = response_headers(_decision(remaining=50, reset_after=30 * SECOND))

        assert headers == [
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "50"),
            ("x-ratelimit-reset", "30"),
            ("ratelimit-policy", '"api";q=100;w=60'),
            ("ratelimit", '"api";r=50;t=30'),
        ]

    def test_times_are_whole_seconds_rounded_up(self) -> None:
        """Who waits as long as the header says must not come too early."""
        decision = _decision(remaining=0, reset_after=30 * SECOND + 1, retry_after=1)
        headers = dict(response_headers(decision))

        assert headers["retry-after"] == "1"
        assert headers["x-ratelimit-reset"] == "31"
        assert headers["ratelimit"] == '"api";r=0;t=31'

    def test_unlimited_has_none(self) -> None:
        """There is nothing to tell."""
        assert response_headers(_decision(remaining=0, reset_after=0, limited=False)) == []
