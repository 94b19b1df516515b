"""The calls printed in the README do what the README says."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cli.layout import Layout
from cli.settings import SuiteSettings
from cli.suite import Suite

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
LEASES = ROOT / "services" / "cache" / "README.md"
BUF = Path(sys.executable).parent / "buf"
TIMEOUT = 20
# From the README's addresses to those of the suite under test.
PUBLISHED = {
    "127.0.0.1:50051": "cache",
    "127.0.0.1:50052": "ratelimit",
    "127.0.0.1:50053": "jobs",
    "127.0.0.1:50054": "health",
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A call of the README in both forms, and what it says of the answer."""

    grpcurl: str
    buf: str
    answer: Any

    def __str__(self) -> str:
        return self.buf.rsplit("/", maxsplit=1)[-1]


def printed_calls() -> list[Printed]:
    """Read the README's console blocks and the JSON block that may follow each."""
    blocks = re.findall(r"```(console|json)\n(.*?)```", README.read_text(), re.DOTALL)
    calls: list[Printed] = []
    for number, (kind, text) in enumerate(blocks):
        lines = [line.removeprefix("$ ") for line in text.splitlines()]
        grpcurl = [line for line in lines if line.startswith("grpcurl")]
        buf = [line for line in lines if line.startswith("buf curl")]
        if kind == "console" and grpcurl:
            following = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
            answer = json.loads(following[1]) if following[0] == "json" else {}
            calls.append(Printed(grpcurl=grpcurl[0], buf=buf[0], answer=answer))
    return calls


CALLS = printed_calls()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def addresses(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, str]]:
    """Run the suite as `mainstay up` does, on ports of its own."""
    settings = SuiteSettings(health_probe_interval=0.3, health_probe_timeout=0.3)
    layout = Layout.on_free_ports()
    suite = Suite(
        data_dir=tmp_path_factory.mktemp("suite"),
        layout=layout,
        settings=settings,
        environment=lambda _: {
            "MAINSTAY_HEALTH_PROBE_INTERVAL": "0.3",
            "MAINSTAY_HEALTH_PROBE_TIMEOUT": "0.3",
            "MAINSTAY_HEALTH_PROBE_RISE": "1",
        },
    )
    async with suite:
        await suite.start(lambda _: None)
        yield {address: layout.service(service).address for address, service in PUBLISHED.items()}


def run_call(command: str, addresses: Mapping[str, str]) -> Any:
    """Run one printed call against the suite under test and return the decoded answer."""
    for published, address in addresses.items():
        command = command.replace(published, address)
    words = shlex.split(command)
    done = subprocess.run(
        [BUF, *words[1:]], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "{}")


def contains(whole: Any, part: Any) -> bool:
    """Return whether every value that `part` names stands in `whole`."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    return bool(whole == part)


def printed_lease_calls() -> list[tuple[str, str, Any]]:
    """Read method, request and answer of each call in the cache's section on leases."""
    section = LEASES.read_text(encoding="utf-8").split("## Leases from any language\n")[1]
    section = section.split("\n## ")[0]
    calls: list[tuple[str, str, Any]] = []
    for kind, text in re.findall(r"```(console|json)\n(.*?)```", section, re.DOTALL):
        if kind == "json":
            method, request, _ = calls.pop()
            calls.append((method, request, json.loads(text)))
        for method, request in re.findall(r"^ *\$ call (\w+) (.*)$", text, re.MULTILINE):
            calls.append((method, shlex.split(request)[0], {}))
    return calls


class TestLeaseCalls:
    async def test_answer_as_printed(self, addresses: Mapping[str, str]) -> None:
        """The steps of a computation, with the token that the step before answered."""
        token, methods = "", []
        for method, request, expected in printed_lease_calls():
            target = f"http://127.0.0.1:50051/mainstay.cache.v1.CacheService/{method}"
            data = shlex.quote(request.replace("$TOKEN", token))
            answer = run_call(
                f"buf curl --http2-prior-knowledge --protocol grpc -d {data} {target}", addresses
            )
            methods.append(method)
            token = answer.get("lease", {}).get("token", token)

            assert contains(answer, expected), f"{method}: {answer}"
            if method == "GetOrLease" and expected:
                assert ("lease" in expected) == ("lease" in answer)

        assert {"GetOrLease", "Extend", "Fill", "Abandon"} == set(methods)


class TestReadmeCalls:
    async def test_are_found(self) -> None:
        """The README shows every service at work."""
        services = {call.buf.split("/mainstay.")[1].split(".")[0] for call in CALLS}

        assert {"cache", "ratelimit", "jobs", "health"} == services

    async def test_answer_as_printed(self, addresses: Mapping[str, str]) -> None:
        """Every call, in the README's order, gives what stands below it."""
        for call in CALLS:
            answer = run_call(call.buf, addresses)

            assert contains(answer, call.answer), f"{call}: {answer}"

    @pytest.mark.parametrize("call", CALLS, ids=str)
    async def test_are_the_same_for_grpcurl(self, call: Printed) -> None:
        """Both forms name the same method, address, headers and request."""
        of_grpcurl, of_buf = shlex.split(call.grpcurl), shlex.split(call.buf)

        address, method = of_grpcurl[-2:]
        assert f"http://{address}/{method}" == of_buf[-1]
        for option in ("-d", "-H"):
            values = [
                [words[at + 1] for at, word in enumerate(words) if word == option]
                for words in (of_grpcurl, of_buf)
            ]
            assert values[0] == values[1]
