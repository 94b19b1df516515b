"""Certificates are replaced while they are used, and nobody notices but who looks at them."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mainstay import connector
from mainstay.channel import Channel
from mainstay.credentials import Credentials, Tls
from tests.integration.shared.probe import Probe, probe_service
from tests.integration.tls.certificates import Certificates, serial_of
from tests.integration.tls.handshakes import address_of, shown_at
from tests.integration.tls.witness import witness

PATIENCE = 10.0
CALLERS = 2
PACE = 0.01
"""Seconds that a caller lets pass between two calls: a steady load, not as many as there can be."""

BETWEEN = 20
"""Calls of each kind that have to be over before the next certificate comes."""


class Load:
    """Callers that call one after the other until they are told to stop."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.failed: list[Exception] = []
        self._stopping = asyncio.Event()
        self._progress = asyncio.Condition()

    async def run(self, kind: str, call: Callable[[], Awaitable[object]]) -> None:
        """Be one caller."""
        while not self._stopping.is_set():
            try:
                await call()
            except Exception as error:  # noqa: BLE001 - the test wants to see every one
                self.failed.append(error)
            self.made[kind] += 1
            async with self._progress:
                self._progress.notify_all()
            await asyncio.sleep(PACE)

    async def goes_on(self, count: int) -> None:
        """Return when each kind of caller has made so many more calls."""
        goal = {kind: made + count for kind, made in self.made.items()}
        async with self._progress, asyncio.timeout(PATIENCE * 3):
            await self._progress.wait_for(
                lambda: goal and all(self.made[kind] >= made for kind, made in goal.items())
            )

    @asynccontextmanager
    async def of(self, **calls: Callable[[], Awaitable[object]]) -> AsyncIterator["Load"]:
        """Let several callers of each kind call within the block."""
        for kind in calls:
            self.made[kind] = 0
        async with asyncio.TaskGroup() as group:
            for kind, call in calls.items():
                for _ in range(CALLERS):
                    group.create_task(self.run(kind, call))
            try:
                yield self
            finally:
                self._stopping.set()


async def get_over_https(address: str, context: ssl.SSLContext) -> None:
    """Ask on a connection of its own whether it lives."""
    reader, writer = await asyncio.open_connection(*address_of(address), ssl=context)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b"200 OK" in answer, answer


def put(path: Path, content: bytes) -> None:
    """Have a file hold this from one moment to the next: writing it empties it first."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


class Rotated:
    """A service under load whose certificate the test replaces."""

    def __init__(self, certificates: Certificates, probe: Probe, load: Load) -> None:
        self.certificates = certificates
        self.probe = probe
        self.load = load

    async def shown(self) -> set[int]:
        """Return the certificates that new connections see, over gRPC and HTTP."""
        return {
            await shown_at(self.probe.service.address, protocol="h2"),
            await shown_at(self.probe.service.ops_address, protocol="http/1.1"),
        }


@pytest.fixture
async def rotated(certificates: Certificates) -> AsyncIterator[Rotated]:
    """Put load on kept connections, on new ones, and on HTTP."""
    trusting = Credentials(tls=Tls(ca=certificates.ca))
    https = ssl.create_default_context(cafile=certificates.ca)
    settings = certificates.settings(certificates.server())
    async with probe_service(**settings, credentials=trusting) as probe:

        async def call_anew() -> None:
            async with Channel(probe.service.address, credentials=trusting) as channel:
                await Probe(probe.service, probe.acts, channel).get("call")

        load = Load()
        async with load.of(
            kept=lambda: probe.get("call"),
            anew=call_anew,
            https=lambda: get_over_https(probe.service.ops_address, https),
        ):
            yield Rotated(certificates, probe, load)


class TestTheServersCertificate:
    async def test_is_replaced_under_load(self, rotated: Rotated) -> None:
        """No call fails, and who connects afterwards sees the new one."""
        seen = []
        for _ in range(3):
            await rotated.load.goes_on(BETWEEN)
            fresh = serial_of(rotated.certificates.server().certificate.read_bytes())
            seen.append({fresh} == await rotated.shown())
            await rotated.load.goes_on(BETWEEN)

        assert ([], [True, True, True]) == (rotated.load.failed, seen)

    async def test_is_kept_while_its_successor_is_half_written(self, rotated: Rotated) -> None:
        """Each state on the way is told once, and the last one is taken."""
        service = rotated.certificates.server(name="successor")
        old, whole = await rotated.shown(), service.certificate.read_bytes()
        place = rotated.certificates.server(name="unused").certificate.parent
        shown = []
        with capture_logs() as lines:
            for content in (b"", whole[: len(whole) // 2], whole):
                put(place / "server.pem", content)
                await rotated.load.goes_on(10)
                shown.append(await rotated.shown())
            put(place / "server.key", service.key.read_bytes())
            await rotated.load.goes_on(10)
            shown.append(await rotated.shown())

        events = Counter(line["event"] for line in lines)
        assert [old, old, old, {serial_of(whole)}] == shown
        assert [] == rotated.load.failed
        assert (3, 1) == (events["certificate_not_taken"], events["certificate_taken"])

    async def test_is_kept_while_its_files_are_gone(self, rotated: Rotated) -> None:
        """A volume that is unmounted for a moment takes nothing down."""
        place = rotated.certificates.server(name="unused").certificate.parent
        old = await rotated.shown()
        (place / "server.pem").unlink()
        await rotated.load.goes_on(10)

        assert (old, []) == (await rotated.shown(), rotated.load.failed)


class TestTheClientsCertificate:
    async def test_is_replaced_between_two_calls(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next call shows the new one, and a stream that is open goes on."""
        monkeypatch.setattr(connector, "LOOK_AGAIN", 0.0)
        client = certificates.client()
        tls = Tls(ca=certificates.ca, certificate=client.certificate, key=client.key)
        settings = certificates.required(certificates.server())
        async with (
            witness(**settings) as server,
            Channel(server.address, credentials=Credentials(tls=tls)) as channel,
            aclosing(server.stream(channel)) as words,
        ):
            first = await anext(words)
            before = await server.call(channel)
            fresh = serial_of(certificates.client().certificate.read_bytes())
            after = await server.call(channel)
            server.may_end.set()
            last = await anext(words)

        assert (fresh, b"begun", b"ended") == (after, first, last)
        assert before != after

    async def test_is_kept_while_its_key_is_another(
        self,
        certificates: Certificates,
        others: Certificates,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The log says what is wrong, and names no secret."""
        monkeypatch.setattr(connector, "LOOK_AGAIN", 0.0)
        client = certificates.client()
        tls = Tls(ca=certificates.ca, certificate=client.certificate, key=client.key)
        settings = certificates.required(certificates.server())
        async with (
            witness(**settings) as server,
            Channel(server.address, credentials=Credentials(tls=tls)) as channel,
        ):
            before = await server.call(channel)
            client.key.write_bytes(others.client().key.read_bytes())
            after = await server.call(channel)

        assert before == after
        assert "is not the key of" in caplog.text
        assert "PRIVATE" not in caplog.text
