"""The lines of calls that ended well: all at low rates, samples that add up at high ones."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from shared.telemetry.call_lines import ONE_IN, CallLines, MethodLines
from shared.telemetry.lines import LineWriter
from shared.telemetry.logs import configure_logs

METHOD = "mainstay.cache.v1.CacheService/Get"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PER_SECOND = 5


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = CallLines.installed
    yield
    CallLines.installed = before
    structlog.reset_defaults()


class Stage:
    """A method whose calls finish at the times a test says."""

    def __init__(self, *, quiet: bool = False, least_level: int = 20) -> None:
        self.now = 1_700_000_000.25
        self._out = io.StringIO()
        self._writer = LineWriter(self._out)
        CallLines.installed = CallLines(
            self._writer,
            json.dumps,
            {"service": "cache"},
            least_level=least_level,
            per_second=PER_SECOND,
            clock=lambda: self.now,
        )
        self._method = MethodLines(METHOD, quiet=quiet)

    def finish(self, calls: int = 1, *, request_id: str = "req-7", trace: str = "") -> None:
        for _ in range(calls):
            self._method.call_finished(0.0123456, request_id, "acme", trace)

    @property
    def lines(self) -> list[dict[str, Any]]:
        self._writer.flush()
        return [json.loads(line) for line in self._out.getvalue().splitlines()]

    @property
    def stood_for(self) -> list[int]:
        return [line.get("stands_for", 1) for line in self.lines]


class TestALine:
    async def test_has_the_facts_of_the_call(self) -> None:
        """Of the call as it was, though the line is made later."""
        stage = Stage()
        stage.finish(trace=TRACE)
        stage.now += 60

        assert stage.lines == [
            {
                "event": "call_finished",
                "method": METHOD,
                "code": "OK",
                "duration_ms": 12.346,
                "request_id": "req-7",
                "tenant": "acme",
                "trace_id": TRACE[3:35],
                "level": "info",
                "timestamp": "2023-11-14T22:13:20.250000Z",
                "service": "cache",
            }
        ]

    @pytest.mark.parametrize(
        ("quiet", "least_level", "levels"),
        [(False, 20, ["info"]), (False, 30, []), (True, 10, ["debug"]), (True, 20, [])],
    )
    async def test_has_a_level(self, quiet: bool, least_level: int, levels: list[str]) -> None:
        """Calls of quiet methods are for those who look for details."""
        stage = Stage(quiet=quiet, least_level=least_level)
        stage.finish()

        assert levels == [line["level"] for line in stage.lines]

    def test_masks_what_looks_like_a_secret(self) -> None:
        """A caller chooses its request id, and may choose badly."""
        out = io.StringIO()
        configure_logs(
            "cache", level="info", log_format="json", environment="production", stream=out
        )
        MethodLines(METHOD, quiet=False).call_finished(0.1, "password=hunter2", "acme", "")

        assert '"request_id":"password=***"' in out.getvalue()

    def test_is_for_people_on_a_console(self) -> None:
        """In columns, as every other line."""
        out = io.StringIO()
        configure_logs(
            "cache", level="info", log_format="console", environment="production", stream=out
        )
        MethodLines(METHOD, quiet=False).call_finished(0.1, "req-7", "acme", "")

        assert "Cache/Get OK 100.0 ms" in out.getvalue()
        assert not out.getvalue().startswith("{")

    async def test_stands_where_the_call_ended(self) -> None:
        """Before a warning that came after it."""
        out = io.StringIO()
        configure_logs(
            "cache", level="info", log_format="json", environment="production", stream=out
        )
        structlog.configure(cache_logger_on_first_use=False)
        MethodLines(METHOD, quiet=False).call_finished(0.1, "req-7", "acme", "")
        structlog.get_logger().warning("trouble")

        events = [json.loads(line)["event"] for line in out.getvalue().splitlines()]
        assert events == ["call_finished", "trouble"]


class TestSampling:
    async def test_leaves_low_rates_alone(self) -> None:
        """As many calls a second as are allowed have a line each."""
        stage = Stage()
        for _ in range(3):
            stage.finish(PER_SECOND)
            stage.now += 1

        assert stage.stood_for == [1] * 3 * PER_SECOND

    async def test_takes_one_in_a_hundred_of_the_rest(self) -> None:
        """And the line says for how many it stands."""
        stage = Stage()
        stage.finish(PER_SECOND + 3 * ONE_IN)

        assert stage.stood_for == [1] * PER_SECOND + [ONE_IN] * 3

    async def test_adds_up(self) -> None:
        """What has no line yet is counted by the next one, in whatever second that is."""
        stage = Stage()
        stage.finish(PER_SECOND + 30)
        stage.now += 1
        stage.finish()

        assert stage.stood_for == [1] * PER_SECOND + [31]

    async def test_begins_anew_when_the_clock_is_set_back(self) -> None:
        """A second is another one, earlier or later."""
        stage = Stage()
        stage.finish(PER_SECOND)
        stage.now -= 3_600
        stage.finish(PER_SECOND)

        assert stage.stood_for == [1] * 2 * PER_SECOND

    async def test_knows_methods_apart(self) -> None:
        """A method that is called much hides nothing of another."""
        stage = Stage()
        stage.finish(PER_SECOND + 50)
        MethodLines("other", quiet=False).call_finished(0.1, "req-8", "acme", "")

        assert stage.lines[-1]["request_id"] == "req-8"
