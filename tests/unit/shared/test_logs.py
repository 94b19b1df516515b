"""Log lines: one JSON object each, with the request, without secrets, whoever writes them."""

import dataclasses
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from mainstay.context import RequestContext, use
from shared.telemetry.lines import MAX_CHARACTERS, LineWriter
from shared.telemetry.logs import MAX_STACK, MAX_TEXT, configure_logs

SECRET = "hunter2"
CONTEXT = RequestContext(
    request_id="req-7",
    tenant="acme",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)


class Log:
    """Logging set up as a service does it, into memory."""

    def __init__(self, log_format: str = "json", level: str = "debug") -> None:
        self._out = io.StringIO()
        configure_logs(
            "cache",
            level=level,
            log_format=log_format,
            environment="production",
            stream=self._out,
        )
        structlog.configure(cache_logger_on_first_use=False)
        self.structured = structlog.get_logger()
        self.stdlib = logging.getLogger("some.library")

    @property
    def text(self) -> str:
        structlog.get_config()["logger_factory"]()._writer.flush()
        return self._out.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def log() -> Log:
    return Log()


@dataclasses.dataclass
class Account:
    name: str
    password: str


class TestALine:
    def test_is_one_json_object(self, log: Log) -> None:
        """With level, time, service and environment, and what was said."""
        log.structured.info("job_claimed", job_id="j-1", attempt=2)
        (line,) = log.lines

        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "event": "job_claimed",
            "level": "info",
            "service": "cache",
            "environment": "production",
            "job_id": "j-1",
            "attempt": 2,
        }

    def test_names_the_request(self, log: Log) -> None:
        """Id, tenant and trace, of whoever is being served."""
        with use(CONTEXT):
            log.structured.info("inside")
        log.structured.info("outside")
        inside, outside = log.lines

        assert (inside["request_id"], inside["tenant"]) == ("req-7", "acme")
        assert inside["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert "request_id" not in outside

    def test_may_name_another(self, log: Log) -> None:
        """A line about somebody else's request keeps what it says itself."""
        with use(CONTEXT):
            log.structured.info("forwarded", request_id="req-8")

        assert log.lines[0]["request_id"] == "req-8"

    def test_carries_the_stack_of_an_error(self, log: Log) -> None:
        """On the same line."""
        log.structured.error("failed", exc_info=ValueError("the reason"))
        (line,) = log.lines

        assert "ValueError: the reason" in line["exception"]

    @pytest.mark.parametrize(
        "value",
        [
            "line\nbreak",
            "\ud800",
            "\x1b[31mred",
            b"\xff",
            2**70,
            float("nan"),
            {1: "a", (2, 3): "b"},
            {"\ud800"},
            pytest.param(object(), id="object"),
            Account("a", "b"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_can_hold_anything(self, log: Log, value: object) -> None:
        """Nothing that is logged can make logging fail or break the line."""
        log.structured.info("odd", value=value)
        log.structured.info("next")

        assert [line["event"] for line in log.lines] == ["odd", "next"]

    @pytest.mark.parametrize(
        ("level", "said"),
        [
            ("trace", ["debug", "info", "warning", "error"]),
            ("debug", ["debug", "info", "warning", "error"]),
            ("warning", ["warning", "error"]),
            ("fatal", []),
        ],
    )
    def test_has_a_level(self, level: str, said: list[str]) -> None:
        """What is less is not written."""
        log = Log(level=level)
        for name in ("debug", "info", "warning", "error"):
            getattr(log.structured, name)("event")

        assert [line["level"] for line in log.lines] == said


class TestSecrets:
    @pytest.mark.parametrize(
        "fields",
        [
            {"password": SECRET},
            {"Authorization": f"Bearer {SECRET}xyz"},
            {"redis_password": SECRET, "api_key": SECRET, "session_token": SECRET},
            {"headers": {"cookie": SECRET, "x": 1}},
            {"settings": {"nested": {"sentry_dsn": SECRET}}},
            {"accounts": [{"client_secret": SECRET}, {"a": [{"apikey": SECRET}]}]},
            {"pair": ({"password": SECRET},)},
            {"url": f"redis://user:{SECRET}@cache:6379/0"},
            {"url": f"redis://:{SECRET}@cache:6379/0"},
            {"error": f"cannot connect to postgresql://a:{SECRET}@db/x?sslmode=require"},
            {"header": f"authorization: Bearer {SECRET}.abc.def"},
            {"dsn_text": SECRET, "text": f"host=db password={SECRET} user=a"},
            {"text": f"GET /?api_key={SECRET}&x=1"},
            {"account": Account("a", SECRET)},
            {"nested": [f"https://a:{SECRET}@example.com/"]},
        ],
        ids=",".join,
    )
    def test_are_masked_in_fields(self, log: Log, fields: dict[str, object]) -> None:
        """By the names of keys at any depth, and in texts by their form."""
        log.structured.info("said", **fields)

        assert SECRET not in log.text
        assert "***" in log.text

    def test_are_masked_in_the_event(self, log: Log) -> None:
        """Also where somebody put one into the sentence."""
        log.structured.info(f"connecting to redis://:{SECRET}@cache")

        assert SECRET not in log.text

    def test_are_masked_in_stacks(self, log: Log) -> None:
        """The text of an exception is a text like any other."""
        error = ValueError(f"bad URL redis://a:{SECRET}@cache")
        log.structured.error("failed", exc_info=error)

        assert SECRET not in log.text
        assert "redis://a:***@cache" in log.lines[0]["exception"]

    def test_are_masked_in_what_libraries_log(self, log: Log) -> None:
        """In arguments, in extra fields and in their exceptions."""
        log.stdlib.warning("connecting to %s", f"redis://a:{SECRET}@cache")
        log.stdlib.warning("said", extra={"password": SECRET, "headers": {"cookie": SECRET}})
        log.stdlib.error("failed", exc_info=ValueError(f"redis://a:{SECRET}@cache"))

        assert len(log.lines) == 3
        assert "redis://a:***@cache" in log.lines[2]["exception"]
        assert SECRET not in log.text

    def test_are_masked_on_a_console(self) -> None:
        """People in a terminal share screens."""
        log = Log("console")
        log.structured.info("said", password=SECRET, url=f"redis://a:{SECRET}@cache")

        assert SECRET not in log.text

    @pytest.mark.parametrize(
        "text", ["http://example.com/a:b@c", "a@b.example", "see https://x.example/?q=1", "a=b"]
    )
    def test_the_rest_stays(self, log: Log, text: str) -> None:
        """What only resembles one can be read."""
        log.structured.info("said", text=text)

        assert log.lines[0]["text"] == text


class TestWhatIsTooLong:
    """What callers send may be megabytes, and masking takes its time for each of them."""

    LONG = "x" * 1_000_000

    def test_is_cut_in_a_text(self, log: Log) -> None:
        """Its length is told in its place, whoever logs it."""
        log.structured.info("said", text=self.LONG)
        log.stdlib.warning(self.LONG)
        said, library = log.lines

        cut = f"{'x' * MAX_TEXT}… 1,000,000 characters"
        assert (cut, cut) == (said["text"], library["event"])

    def test_is_cut_in_a_stack(self, log: Log) -> None:
        """Where the error was stands before what it quotes."""
        log.structured.error("failed", exc_info=ValueError(f"no number: {self.LONG}"))
        log.stdlib.error("failed", exc_info=ValueError(self.LONG))
        stacks = [line["exception"] for line in log.lines]

        assert "ValueError: no number: xxx" in stacks[0]
        assert max(map(len, stacks)) < MAX_STACK + 100

    def test_shows_nothing_of_a_secret_that_is_cut_in_two(self, log: Log) -> None:
        """Neither of its halves."""
        secret = "hunter2" * MAX_STACK
        log.structured.error("failed", exc_info=ValueError(f"password='{secret}'"))

        assert SECRET not in log.text


class TestTheStandardLibrary:
    def test_speaks_in_the_same_form(self, log: Log) -> None:
        """A line of a library has service, request and level like any other."""
        with use(CONTEXT):
            log.stdlib.warning("pool is %s", "full", extra={"size": 10})
        (line,) = log.lines

        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "event": "pool is full",
            "level": "warning",
            "service": "cache",
            "environment": "production",
            "request_id": "req-7",
            "tenant": "acme",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "size": 10,
        }

    def test_is_heard_from_warnings_on(self) -> None:
        """At info, what libraries tell about themselves is left out."""
        log = Log(level="info")
        log.stdlib.info("chatter")
        log.stdlib.warning("trouble")

        assert [line["event"] for line in log.lines] == ["trouble"]


class TestAConsole:
    def test_is_for_people(self) -> None:
        """Columns instead of JSON."""
        log = Log("console")
        with use(CONTEXT):
            log.structured.info("job_claimed", job_id="j-1")

        assert "job_claimed" in log.text
        assert "req-7" in log.text
        assert not log.text.startswith("{")

    def test_is_not_chosen_for_a_file(self) -> None:
        """`auto` means JSON wherever the output is no terminal."""
        log = Log("auto")
        log.structured.info("job_claimed")

        assert log.lines[0]["event"] == "job_claimed"


def lost_lines() -> float:
    return REGISTRY.get_sample_value("mainstay_log_lines_lost_total") or 0.0


class TestTheWriter:
    async def test_collects_what_can_wait(self) -> None:
        """Informational lines are written together, before the loop has idled for long."""
        out = io.StringIO()
        writer = LineWriter(out)
        writer.add("a")
        writer.add("b")
        before = out.getvalue()
        writer.flush()

        assert (before, out.getvalue()) == ("", "a\nb\n")

    async def test_what_cannot_wait_takes_the_rest_along(self) -> None:
        """A warning is written at once, in order."""
        out = io.StringIO()
        writer = LineWriter(out)
        writer.add("a")
        writer.add_now("b")

        assert out.getvalue() == "a\nb\n"

    async def test_is_bounded(self) -> None:
        """Much is not kept in memory."""
        out = io.StringIO()
        writer = LineWriter(out)
        writer.add("x" * MAX_CHARACTERS)
        writer.add("y")

        assert len(out.getvalue()) > MAX_CHARACTERS
        writer.flush()

    async def test_makes_lines_when_it_writes_them(self) -> None:
        """In their order, and not during the call that they are about."""
        out = io.StringIO()
        writer = LineWriter(out)
        calls = {"finished": 1}
        writer.add_unmade(str, calls)
        calls["finished"] = 2
        writer.add_now("b")

        assert out.getvalue() == "{'finished': 2}\nb\n"

    def test_outside_of_a_loop_nothing_waits(self) -> None:
        """Nobody would come back for it."""
        out = io.StringIO()
        LineWriter(out).add("a")

        assert out.getvalue() == "a\n"

    def test_a_reader_that_is_gone_breaks_nothing(self) -> None:
        """A closed pipe must not fail the calls whose lines it takes; what is lost is counted."""
        out = io.StringIO()
        out.close()
        before = lost_lines()
        LineWriter(out).add_now("a")

        assert lost_lines() == before + 1
