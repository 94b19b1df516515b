"""What people see in a terminal: calls in rows that fit into 80 columns."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from mainstay.context import RequestContext, new_request_id, use
from shared.telemetry.call_lines import CallLines, MethodLines
from shared.telemetry.console import WIDTH
from shared.telemetry.logs import configure_logs

METHOD = "mainstay.cache.v1.CacheService/Get"
LOCAL = "hunter2"


class Terminal(io.StringIO):
    """Memory that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def fail() -> None:
    local = LOCAL
    raise RuntimeError("boom" if local else "")


class Stage:
    """Logging set up for a terminal."""

    def __init__(self, out: io.StringIO, log_format: str = "console") -> None:
        self._out = out
        configure_logs(
            "cache", level="info", log_format=log_format, environment="production", stream=out
        )
        structlog.configure(cache_logger_on_first_use=False)
        self.log = structlog.get_logger()

    @property
    def rows(self) -> list[str]:
        structlog.get_config()["logger_factory"]()._writer.flush()
        return self._out.getvalue().splitlines()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, installed = logging.getLogger(), CallLines.installed
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers, CallLines.installed = handlers, installed
    root.setLevel(level)


@pytest.fixture
def stage() -> Stage:
    return Stage(io.StringIO())


class TestACall:
    def test_is_a_row(self, stage: Stage) -> None:
        """When, how grave, the method, the code, how long, and whole the request id."""
        request_id = new_request_id()
        MethodLines(METHOD, quiet=False).call_finished(0.00041, request_id, "acme", "")
        (row,) = stage.rows

        assert ["info", "Cache/Get", "OK", "0.4", "ms", request_id] == row.split()[1:]
        assert WIDTH == len(row)

    def test_that_stands_for_others_says_so(self, stage: Stage) -> None:
        """A sample of many calls is not taken for one."""
        stage.log.info("call_finished", method=METHOD, code="OK", duration_ms=1.0, stands_for=100)

        assert "100 x Cache/Get OK" in stage.rows[0]

    def test_with_a_long_name_has_its_id_below(self, stage: Stage) -> None:
        """Nothing is cut off, and no row is broken by the terminal."""
        method = f"mainstay.ratelimit.v1.RateLimitService/{'List' * 10}"
        request_id = new_request_id()
        MethodLines(method, quiet=False).call_finished(65.0, request_id, "acme", "")
        first, second = stage.rows

        assert first.endswith(f"RateLimit/{'List' * 10} OK 65.0 s")
        assert [request_id, "acme"] == second.split()

    def test_that_is_refused_says_why(self, stage: Stage) -> None:
        """The reason, whose it was, and the message in words that are not broken."""
        with use(RequestContext(request_id=new_request_id(), tenant="acme")):
            stage.log.info(
                "call_finished",
                method=METHOD,
                code="RESOURCE_EXHAUSTED",
                reason="QUEUE_FULL",
                duration_ms=1.23,
                error="there are 10,000 jobs in the queue already; " * 4,
            )
        rows = stage.rows

        assert rows[0].endswith("Cache/Get RESOURCE_EXHAUSTED 1.2 ms")
        assert ["QUEUE_FULL", "acme"] == rows[1].split()[1:]
        assert 4 == " ".join(row.strip() for row in rows).count("jobs in the queue already;")
        assert max(len(row) for row in rows) <= WIDTH

    def test_that_crashes_shows_the_stack_without_locals(self, stage: Stage) -> None:
        """They may hold anything, and screens are shared."""
        try:
            fail()
        except RuntimeError:
            stage.log.exception("call_failed", method=METHOD, code="INTERNAL")
        text = "\n".join(stage.rows)

        assert "RuntimeError: boom" in text
        assert "test_console_lines.py" in text
        assert LOCAL not in text


class TestAnyEvent:
    def test_fits(self, stage: Stage) -> None:
        """Its name and its fields, in rows of whole words; what is always the same is left out."""
        job_id = new_request_id()
        stage.log.info("job_claimed", job_id=job_id, function="video/encode", text="two words")
        rows = stage.rows

        assert ["info", "job_claimed", f"job_id={job_id}"] == rows[0].split()[1:]
        assert ["function=video/encode", "text='two", "words'"] == rows[1].split()
        assert max(len(row) for row in rows) <= WIDTH
        assert "production" not in "".join(rows)

    def test_has_colours_in_a_terminal(self) -> None:
        """And nowhere else, nor where somebody asked for none (https://no-color.org)."""
        shown = Stage(Terminal(), "auto")
        shown.log.warning("redis_slow")
        (row,) = shown.rows

        assert "\x1b[33m" in row
        assert "redis_slow" in row

    @pytest.mark.parametrize("out", [Terminal, io.StringIO])
    def test_has_none_elsewhere(
        self, out: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file is read by other programs."""
        monkeypatch.setenv("NO_COLOR", "1")
        plain = Stage(out())
        plain.log.warning("redis_slow", took=1.2)

        assert "\x1b" not in plain.rows[0]
        assert plain.rows[0].endswith(" warn  redis_slow took=1.2")
