"""No secret reaches a log line: planted in every field, and along every path that lines take."""

import io
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.call_lines import CallLines, MethodLines
from shared.telemetry.event_lines import note_line
from shared.telemetry.lines import LineWriter
from shared.telemetry.logs import configure_logs
from shared.telemetry.masking import mask_lines, mask_text

BAIT = "hunter2Zq9XhUnTeR"
FORMS = {
    "redis url": f"redis://user:{BAIT}@cache:6379/0",
    "redis url without a user": f"redis://:{BAIT}@cache:6379/0",
    "postgres url": f"postgresql://main:{BAIT}@db:5432/x?sslmode=require",
    "odd password in a url": f"postgres://a:x/{BAIT}@{BAIT}@db/x",
    "several urls": f"redis://a:{BAIT}@one:1,redis://b:{BAIT}@two:2",
    "sentry dsn": f"https://{BAIT.lower()}@o1.ingest.example/42".replace(BAIT.lower(), BAIT),
    "bearer": f"Bearer {BAIT}.abc.def",
    "basic": f"basic {BAIT}==",
    "header": f"authorization: Bearer {BAIT}",
    "header without a scheme": f"Authorization: {BAIT}",
    "key in a header": f"x-api-key: {BAIT}",
    "cookie": f"cookie: session={BAIT}; theme=dark",
    "set-cookie": f"Set-Cookie: id={BAIT}; HttpOnly",
    "metadata": repr((("authorization", BAIT), ("x-a", "b"))),
    "metadatum": f"_Metadatum(key='x-api-key', value='{BAIT}')",
    "our key": f"mk_live_{BAIT}",
    "key of an ai provider": f"sk-proj-{BAIT}",
    "libpq dsn": f"host=db password={BAIT} user=a",
    "quoted libpq dsn": f"host=db password='{BAIT} {BAIT}' user=a",
    "query": f"GET /?api_key={BAIT}&x=1",
    "repr of a dict": repr({"user": "a", "password": BAIT}),
    "repr of bytes": repr({b"token": BAIT.encode()}),
    "json": json.dumps({"client_secret": BAIT}),
    "compact json": json.dumps({"client_secret": BAIT}, separators=(",", ":")),
    "json in json": json.dumps({"body": json.dumps({"token": BAIT})}),
    "backslashes": f"password=a\\b\\{BAIT}",
    "a backslash at the end": f"password='{BAIT}\\",
    "aws secret": f"aws_secret_access_key = {BAIT}/K7MDENG",
    "camel case": f"secretAccessKey={BAIT} apiKey={BAIT}",
    "aws id": "AKIAHUNTER2HUNTER22X",
    "jwt": f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{BAIT}In0.{BAIT}",
    "pem": f"-----BEGIN RSA PRIVATE KEY-----\nMII{BAIT}+/=\n{BAIT}\n-----END RSA PRIVATE KEY-----",
    "cut off pem": f"-----BEGIN PRIVATE KEY-----\nMII{BAIT}\n",
}
BAITS = re.compile(rf"{BAIT}|HUNTER2HUNTER22X")
every_form = pytest.mark.parametrize("secret", FORMS.values(), ids=FORMS)


class Log:
    """Logging set up as a service does it, into memory."""

    def __init__(self, log_format: str) -> None:
        self._out = io.StringIO()
        configure_logs(
            "cache",
            level="trace",
            log_format=log_format,
            environment="production",
            stream=self._out,
        )
        structlog.configure(cache_logger_on_first_use=False)

    @property
    def text(self) -> str:
        structlog.get_config()["logger_factory"]()._writer.flush()
        return self._out.getvalue()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, installed = logging.getLogger(), CallLines.installed
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers, CallLines.installed = handlers, installed
    root.setLevel(level)


@pytest.fixture(params=["json", "console"])
def log(request: pytest.FixtureRequest) -> Log:
    return Log(request.param)


@dataclass
class Account:
    name: str
    password: str


class Pair(NamedTuple):
    name: str
    api_key: str


def raised(error: Exception) -> Exception:
    """Return an error with a traceback through frames whose locals hold the secret, too."""
    local = str(error)
    try:
        raise error
    except type(error) as caught:
        assert local
        return caught


def structured(secret: str) -> None:
    log = structlog.get_logger()
    log.info("said", text=secret, nested={"deep": [{"er": (secret,)}]})
    log.info(secret)
    log.info("ids", request_id=secret, tenant=secret, method=secret, session=secret)
    log.error("failed", error=secret, exc_info=raised(ValueError(secret)))
    log.trace("traced", text=secret)
    log.fatal("over", text={secret}, odd=Account("a", secret), pair=[Pair("a", secret)])


def libraries(secret: str) -> None:
    log = logging.getLogger("some.library")
    log.warning("connecting to %s", secret)
    log.warning("said", extra={"url": secret, "nested": [{"x": secret}]})
    log.error("failed", exc_info=raised(ValueError(secret)))


def calls(secret: str) -> None:
    lines = MethodLines("mainstay.cache.v1.CacheService/Get", quiet=False)
    lines.call_finished(0.1, secret, secret, "")
    structlog.get_logger().info(
        "call_finished", method="a.b.C/D", code="X", reason=secret, error=secret, request_id=secret
    )
    structlog.get_logger().error(
        "call_failed", method="a.b.C/D", code="X", exc_info=raised(KeyError(secret)), tenant=secret
    )


def events(secret: str) -> None:
    note_line("job_claimed", {"worker": secret, "request_id": secret, "nested": {"a": [secret]}})


class TestByForm:
    @pytest.mark.parametrize("path", [structured, libraries, calls, events])
    @every_form
    def test_nothing_gets_through(self, log: Log, path: Callable[[str], None], secret: str) -> None:
        """In the event, a field, an id, a structure, an error, its traceback; on every path."""
        path(secret)
        text = log.text

        assert "***" in text
        assert BAITS.search(text) is None, text

    @every_form
    def test_lines_stay_json(self, secret: str) -> None:
        """What is masked in a line of JSON leaves JSON, and what is masked in a text the same."""
        line = json.dumps({"event": secret, "a": [secret]}, separators=(",", ":"))
        masked = json.loads(mask_lines(None, "", line))
        in_text = mask_text(secret).rstrip("\\")

        assert {"event": in_text, "a": [in_text]} == masked

    @given(st.text(st.sampled_from("password='\"\\:@ {},//eyJ-k_\n"), max_size=60))
    def test_any_text_leaves_json(self, text: str) -> None:
        """Whatever is cut out, quotes and escapes stay whole."""
        line = json.dumps({"event": text, "tail": "kept"}, separators=(",", ":"))

        assert "kept" == json.loads(mask_lines(None, "", line))["tail"]

    @pytest.mark.parametrize(
        "text",
        [
            "http://example.com/a:b@c",
            "http://host:8080/path@x",
            "a@b.example",
            "see https://x.example/?q=1",
            "a=b",
            "input_tokens=50",
            "unexpected token",
            "the password is wrong",
            "task-scheduler-3",
            "disk_usage_bytes",
            "keys: a, b",
            "primary key (a) = (b)",
        ],
    )
    def test_the_rest_stays(self, text: str) -> None:
        """What only resembles one can be read."""
        assert text == mask_text(text)

    @pytest.mark.parametrize(
        "hostile",
        ["x@://a:", "eyJ-", "password ", "cookie,", "-----BEGIN PRIVATE KEY-----", "token'", "mk_"],
    )
    @pytest.mark.timeout(10)
    def test_takes_no_time(self, hostile: str) -> None:
        """A caller who knows the forms can make no line expensive: linear, or nearly."""
        mask_text(hostile * 20_000)


class TestByName:
    NAMES = (
        "password",
        "Authorization",
        "x-api-key",
        "apiKey",
        "session_token",
        "client_secret",
        "set-cookie",
        "sentry_dsn",
        "private_key",
        "aws_access_key_id",
        "credentials",
        "passphrase",
    )

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda field: field,
            lambda field: {"a": field},
            lambda field: {"a": [{"b": (field,)}]},
            lambda field: {"a": OrderedDict(field)},
        ],
        ids=["field", "dict", "deep", "ordered"],
    )
    def test_a_value_is_masked(
        self, log: Log, name: str, wrap: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """At any depth, along every path that takes fields, whatever it looks like."""
        fields = wrap({name: BAIT})
        structlog.get_logger().info("said", **fields)
        logging.getLogger("some.library").warning("said", extra=fields)
        note_line("noted", fields)

        assert 3 == log.text.count("said") + log.text.count("noted")
        assert BAIT not in log.text

    def test_a_structure_that_contains_itself(self, log: Log) -> None:
        """Ends somewhere, and logging goes on."""
        endless: dict[str, Any] = {"password": BAIT}
        endless["self"] = endless
        structlog.get_logger().info("said", field=endless)
        structlog.get_logger().info("next")

        assert "next" in log.text
        assert BAIT not in log.text


class TestLevels:
    LEVELS = ("trace", "debug", "info", "warning", "error", "fatal")

    @pytest.mark.parametrize("least", LEVELS)
    def test_from_fatal_to_trace(self, least: str) -> None:
        """What is below the level is not written, and the others have the names of the setting."""
        out = io.StringIO()
        configure_logs("cache", level=least, log_format="json", environment="test", stream=out)
        structlog.configure(cache_logger_on_first_use=False)
        for level in self.LEVELS:
            getattr(structlog.get_logger(), level)("event")
        structlog.get_config()["logger_factory"]()._writer.flush()

        said = [json.loads(line)["level"] for line in out.getvalue().splitlines()]
        assert list(self.LEVELS[self.LEVELS.index(least) :]) == said

    @pytest.mark.parametrize(("number", "name"), [(5, "trace"), (50, "fatal"), (30, "warning")])
    def test_of_libraries(self, number: int, name: str) -> None:
        """Have the same names."""
        log = Log("json")
        logging.getLogger("some.library").log(number, "event")

        assert name == json.loads(log.text)["level"]


def test_the_writer_is_the_one_of_the_log() -> None:
    """The tests above read what was really written."""
    assert isinstance(
        (Log("json"), structlog.get_config()["logger_factory"]()._writer)[1], LineWriter
    )
