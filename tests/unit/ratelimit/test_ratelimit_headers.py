"""Decisions as response headers, in both dialects."""

from services.ratelimit.decision import Decision, LimitState, PlanSource, decided
from services.ratelimit.headers import response_headers
from services.ratelimit.policy import SECOND, Limit, Rule

API = Rule(name="api", endpoints=("*",), default=())
MINUTE = Limit(quota=100, window=60 * SECOND)


def _state(
    *,
    limit: Limit = MINUTE,
    remaining: int = 50,
    reset_after: int = 30 * SECOND,
    retry_after: int | None = None,
) -> LimitState:
    return LimitState(
        API, limit, retry_after is None, remaining, reset_after, 0, retry_after, None, False
    )


def _decision(*states: LimitState) -> Decision:
    return decided("api", "", PlanSource.NONE, states, decided_at=0, policy_version=1)


class TestResponseHeaders:
    def test_both_dialects_say_the_same(self) -> None:
        """The older three headers and the pair of the IETF's draft."""
        headers = response_headers(_decision(_state()))

        assert headers == [
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "50"),
            ("x-ratelimit-reset", "30"),
            ("ratelimit-policy", '"api";q=100;w=60'),
            ("ratelimit", '"api";r=50;t=30'),
        ]

    def test_times_are_whole_seconds_rounded_up(self) -> None:
        """Who waits as long as the header says must not come too early."""
        state = _state(remaining=0, reset_after=30 * SECOND + 1, retry_after=1)
        headers = dict(response_headers(_decision(state)))

        assert headers["retry-after"] == "1"
        assert headers["x-ratelimit-reset"] == "31"
        assert headers["ratelimit"] == '"api";r=0;t=31'

    def test_unlimited_has_none(self) -> None:
        """There is nothing to tell."""
        assert response_headers(_decision()) == []

    def test_of_several_limits_the_older_dialect_tells_the_one_that_decides(self) -> None:
        """It has room for one; the newer one names all of them, each with a name of its own."""
        second = _state(limit=Limit(quota=10, window=SECOND), remaining=1, reset_after=SECOND)
        headers = dict(response_headers(_decision(_state(), second)))

        assert headers == {
            "x-ratelimit-limit": "10",
            "x-ratelimit-remaining": "1",
            "x-ratelimit-reset": "1",
            "ratelimit-policy": '"api";q=100;w=60, "api_2";q=10;w=1',
            "ratelimit": '"api";r=50;t=30, "api_2";r=1;t=1',
        }
