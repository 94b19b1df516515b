"""Decisions as response headers, in both dialects."""

from services.ratelimit.decision import Decision, LimitState, PlanSource, decided
from services.ratelimit.formatting import limit_state_message
from services.ratelimit.headers import response_headers
from services.ratelimit.policy import DAY, SECOND, Algorithm, Calendar, Limit, Rule

API = Rule(name="api", endpoints=("*",), default=())
API_WATCHED = Rule(name="watched", endpoints=("*",), default=(), shadow=True)
MINUTE = Limit(quota=100, window=60 * SECOND)


def _state(
    *,
    rule: Rule = API,
    limit: Limit = MINUTE,
    remaining: int = 50,
    reset_after: int = 30 * SECOND,
    retry_after: int | None = None,
) -> LimitState:
    return LimitState(
        rule, limit, retry_after is None, remaining, reset_after, 0, retry_after, None, False
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

    def test_a_calendars_window_is_the_one_that_runs(self) -> None:
        """A day on which clocks change is as long as it is, a month has as many days."""
        end_of_march = 1_774_900_000 * SECOND  # 2026-03-30
        month, day = (
            Limit(
                quota=9,
                window=window,
                algorithm=Algorithm.FIXED_WINDOW,
                calendar=calendar,
                time_zone="Europe/Berlin",
            )
            for window, calendar in ((30 * DAY, Calendar.MONTH), (DAY, Calendar.DAY))
        )
        states = [
            _state(limit=month)._replace(now=end_of_march),
            _state(limit=day)._replace(now=end_of_march - DAY),
        ]
        headers = dict(response_headers(_decision(*states)))
        lengths = [31 * 86_400 - 3_600, 23 * 3_600]

        assert (
            f'"api";q=9;w={lengths[0]}, "api_2";q=9;w={lengths[1]}' == headers["ratelimit-policy"]
        )
        assert lengths == [limit_state_message(state).window.seconds for state in states]

    def test_unlimited_has_none(self) -> None:
        """There is nothing to tell."""
        assert response_headers(_decision()) == []

    def test_a_rule_that_only_watches_tells_nothing(self) -> None:
        """Alone or beside others: clients would hold back for it."""
        watching = _state(rule=API_WATCHED, remaining=0)

        assert response_headers(_decision(watching)) == []
        assert response_headers(_decision(watching, _state())) == response_headers(
            _decision(_state())
        )

    def test_with_a_burst_of_its_own_that_is_the_limit_that_remains_of(self) -> None:
        """60 a minute, 3 at once: 2 of 3 are left, not 2 of 60."""
        state = _state(limit=Limit(quota=60, window=60 * SECOND, burst=3), remaining=2)
        headers = dict(response_headers(_decision(state)))

        assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("3", "2")
        assert headers["ratelimit-policy"] == '"api";q=60;w=60'

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
