"""Which calls get a row of the request log, and what is in it."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from shared.telemetry.call_lines import ONE_IN, CallLines, FailedCall, Finished, MethodLines
from shared.telemetry.lines import LineWriter
from shared.telemetry.request_log import MAX_ERROR, TABLE, request_row

METHOD = "mainstay.cache.v1.CacheService/Get"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PER_SECOND = 5
OK = Finished(METHOD, "info", 1_700_000_000.25, 0.0125, "req-7", "acme", TRACE, 3)
FAILED = FailedCall(
    METHOD, 1_700_000_000.25, 0.5, "req-8", "acme", "", "NOT_FOUND", "NO_KEY", "no such key"
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = CallLines.installed
    yield
    CallLines.installed = before


def row(call: Finished | FailedCall) -> dict[str, Any]:
    return dict(zip(TABLE.columns, request_row("cache", "host:1:ab")(call), strict=True))


class TestARow:
    def test_of_a_call_that_ended_well(self) -> None:
        """With the facts of its line."""
        found = row(OK)

        assert found.pop("time").isoformat() == "2023-11-14T22:13:20.250000+00:00"
        assert found == {
            "service": "cache",
            "instance": "host:1:ab",
            "method": METHOD,
            "code": "OK",
            "reason": "",
            "duration_ms": 12.5,
            "request_id": "req-7",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "tenant": "acme",
            "principal": "anonymous",
            "stands_for": 3,
            "error": None,
        }

    def test_of_a_call_that_failed(self) -> None:
        """With what the caller was told; it stands for itself."""
        found = row(FAILED)

        assert (found["code"], found["reason"]) == ("NOT_FOUND", "NO_KEY")
        assert (found["error"], found["stands_for"]) == ("no such key", 1)
        assert (found["request_id"], found["trace_id"]) == ("req-8", "")

    @pytest.mark.parametrize(
        "message",
        [
            "postgresql://mainstay:hunter2@db/main is away",
            "x" * (MAX_ERROR - 12) + " password=hunter2",
            "authorization: Bearer hunter2hunter2",
        ],
    )
    def test_holds_no_secret(self, message: str) -> None:
        """Masked before it is cut: half a secret looks like none."""
        found = row(FAILED._replace(error=message, request_id="token=hunter2"))

        assert "hunter2" not in json.dumps(found, default=str)
        assert len(found["error"]) <= MAX_ERROR

    def test_holds_nothing_that_cannot_be_stored(self) -> None:
        """Zero bytes and halves of characters come from callers."""
        found = row(FAILED._replace(error="a\0b \ud800 é"))

        assert found["error"] == "ab ? é"


class Stage:
    """A method whose calls finish within a second."""

    def __init__(self, *, least_level: int = 20) -> None:
        self.kept: list[Finished | FailedCall] = []
        self._out = io.StringIO()
        self._writer = LineWriter(self._out)
        CallLines.installed = CallLines(
            self._writer,
            json.dumps,
            {},
            least_level=least_level,
            per_second=PER_SECOND,
            clock=lambda: 1_700_000_000.25,
        )
        self.method = MethodLines(METHOD, quiet=False, keep=self.kept.append)

    def finish(self, calls: int) -> None:
        for number in range(calls):
            self.method.call_finished(0.01, f"req-{number}", "acme", TRACE)

    def stood_for(self) -> list[int]:
        return [call.stands_for for call in self.kept if isinstance(call, Finished)]

    def lines(self) -> list[dict[str, Any]]:
        self._writer.flush()
        return [json.loads(line) for line in self._out.getvalue().splitlines()]


class TestWhichCalls:
    async def test_those_that_have_a_line(self) -> None:
        """The same ones, standing for as many."""
        stage = Stage()
        stage.finish(PER_SECOND + 2 * ONE_IN)

        assert stage.stood_for() == [1] * PER_SECOND + [ONE_IN] * 2
        assert [call.request_id for call in stage.kept] == [
            line["request_id"] for line in stage.lines()
        ]

    async def test_also_where_the_log_is_for_warnings(self) -> None:
        """The level is that of the log."""
        stage = Stage(least_level=30)
        stage.finish(2)

        assert (stage.stood_for(), stage.lines()) == ([1, 1], [])

    async def test_every_one_that_fails(self) -> None:
        """However many there are."""
        stage = Stage()
        for _ in range(3 * PER_SECOND):
            stage.method.call_failed(("NOT_FOUND", "NO_KEY"), "gone", 0.1, "req-1", "acme", TRACE)

        assert len(stage.kept) == 3 * PER_SECOND

    async def test_with_a_bounded_message(self) -> None:
        """An error may quote what it was about."""
        stage = Stage()
        stage.method.call_failed(("INTERNAL", "X"), "m" * 100_000, 0.1, "req-1", "acme", TRACE)

        (call,) = stage.kept
        assert isinstance(call, FailedCall)
        assert len(call.error) == 1_000
