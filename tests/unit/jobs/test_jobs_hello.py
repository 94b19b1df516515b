"""The bounds of what a worker says of itself."""

from dataclasses import replace

import pytest

from mainstay.errors import ValidationError
from services.jobs.frames import Heartbeat, HeldToken, Hello, ReportBatch
from services.jobs.function import FunctionDefinition
from services.jobs.reports import Released
from services.jobs.retry import Backoff
from tests.unit.jobs.job_values import report

EVENTS = ["email/send", "video/upload.completed"]
FUNCTION = FunctionDefinition(
    name="send-email",
    trigger="email/send",
    max_attempts=3,
    backoff=Backoff(initial=1.0, maximum=300.0),
)
HELLO = Hello(worker="w", functions=(FUNCTION,), resume=None, in_flight=())
TOKEN = HeldToken(raw=b"t", token=None)


def numbered(count: int) -> tuple[FunctionDefinition, ...]:
    """Return so many functions."""
    return tuple(replace(FUNCTION, name=f"f{number}") for number in range(count))


class TestFunction:
    @pytest.mark.parametrize(
        ("change", "wrong"),
        [
            ({}, None),
            ({"name": "a-z0.9_/b"}, None),
            ({"name": "x" * 100}, None),
            ({"name": ""}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"name": "Send"}, "name"),
            ({"name": "a b"}, "name"),
            ({"trigger": "order/paid"}, "trigger"),
            ({"trigger": ""}, None),
            ({"max_attempts": 1}, None),
            ({"max_attempts": 100}, None),
            ({"max_attempts": 101}, "max_attempts"),
            ({"backoff": Backoff(initial=0.0, maximum=0.0)}, None),
            ({"backoff": Backoff(initial=86400.0, maximum=86400.0)}, None),
            ({"backoff": Backoff(initial=1.0, maximum=86401.0)}, "max_backoff"),
            ({"backoff": Backoff(initial=0.0, maximum=-1.0)}, "max_backoff"),
            ({"backoff": Backoff(initial=2.0, maximum=1.0)}, "initial_backoff"),
            ({"backoff": Backoff(initial=-1.0, maximum=1.0)}, "initial_backoff"),
        ],
    )
    def test_bounds(self, change: dict[str, object], wrong: str | None) -> None:
        """What is out of bounds is named."""
        mistakes = replace(FUNCTION, **change).mistakes(EVENTS)  # type: ignore[arg-type]

        assert ([wrong] if wrong else []) == list(mistakes)

    def test_trigger_says_what_there_is(self) -> None:
        """An unknown trigger is answered with the events that are known."""
        mistakes = replace(FUNCTION, trigger="order/paid").mistakes(EVENTS)

        assert "email/send, video/upload.completed" in mistakes["trigger"]


class TestHello:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"worker": ""}, "hello.worker"),
            ({"worker": "w" * 101}, "hello.worker"),
            ({"worker": "a\0"}, "hello.worker"),
            ({"functions": ()}, "hello.functions"),
            ({"functions": numbered(201)}, "hello.functions"),
            ({"functions": (FUNCTION, FUNCTION)}, "hello.functions[1].name"),
            (
                {"functions": (FUNCTION, replace(FUNCTION, name="f", trigger="x"))},
                "hello.functions[1].trigger",
            ),
            ({"in_flight": (TOKEN,) * 10_001}, "hello.in_flight_tokens"),
        ],
    )
    def test_out_of_bounds(self, change: dict[str, object], field: str) -> None:
        """What is out of bounds is named by its field."""
        hello = replace(HELLO, **change)  # type: ignore[arg-type]

        with pytest.raises(ValidationError) as caught:
            hello.check(EVENTS)

        assert [field] == list(caught.value.fields)
        assert f"{field} {caught.value.fields[field]}" in caught.value.message

    def test_first_mistakes_in_the_message(self) -> None:
        """The message names the first mistakes, with what is right, and how many more there are."""
        hello = replace(HELLO, functions=tuple(replace(FUNCTION, name=f"F{n}") for n in range(5)))

        with pytest.raises(ValidationError) as caught:
            hello.check(EVENTS)

        right = "must be 1 to 100 of a-z 0-9 . _ / -"
        listed = "; ".join(f"hello.functions[{number}].name {right}" for number in range(3))
        assert f"the worker's Hello is not valid: {listed}; and 2 more" == caught.value.message

    def test_far_too_many(self) -> None:
        """Of functions beyond the bound, nothing is checked."""
        hello = replace(HELLO, functions=(replace(FUNCTION, name="F"),) * 1_000)

        with pytest.raises(ValidationError) as caught:
            hello.check(EVENTS)

        assert 1 + 200 == len(caught.value.fields)

    @pytest.mark.parametrize(
        "change",
        [{}, {"worker": "w" * 100}, {"functions": numbered(200)}, {"in_flight": (TOKEN,) * 10_000}],
    )
    def test_within_bounds(self, change: dict[str, object]) -> None:
        """What is exactly at a bound is fine."""
        replace(HELLO, **change).check(EVENTS)  # type: ignore[arg-type]


class TestOtherFrames:
    def test_tokens_of_a_heartbeat(self) -> None:
        """A heartbeat names at most ten thousand jobs."""
        Heartbeat(tokens=(TOKEN,) * 10_000).check()

        with pytest.raises(ValidationError) as caught:
            Heartbeat(tokens=(TOKEN,) * 10_001).check()

        assert ["heartbeat.tokens"] == list(caught.value.fields)

    @pytest.mark.parametrize("count", [0, 501])
    def test_reports_of_a_batch(self, count: int) -> None:
        """A batch holds 1 to 500 reports."""
        batch = ReportBatch(reports=(report(Released()),) * count)

        with pytest.raises(ValidationError) as caught:
            batch.check()

        assert ["reports.reports"] == list(caught.value.fields)
