"""What clients show of themselves: with every call, to the right peers, and nowhere else."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mainstay import Credentials, Mainstay, Tls, Worker
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.context import request
from mainstay.credentials import is_local
from mainstay.errors import ConfigurationError, ValidationError
from tests.integration.shared.test_sdk_channel import REQUEST, ScriptedServer
from tests.recorded_spans import recording_spans

SECRET = "msk_0123456789ab_" + "s" * 32


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Record the spans of the test."""
    with recording_spans() as exporter:
        yield exporter


async def sent_by(credentials: Credentials, *, calls: int = 1) -> list[str | None]:
    """Return the header that a server saw with each call."""
    server = ScriptedServer()
    async with (
        server.listening() as address,
        Channel(address, credentials=credentials) as channel,
    ):
        stub = pb_grpc.CacheServiceStub(channel.raw)
        for _ in range(calls):
            await channel.unary(stub.Get, REQUEST)
    return [headers.get("authorization") for headers in server.headers]


class TestTheToken:
    async def test_goes_with_every_call(self) -> None:
        """As HTTP has it."""
        assert [f"Bearer {SECRET}"] * 2 == await sent_by(Credentials(SECRET), calls=2)

    async def test_is_asked_for_with_every_call(self) -> None:
        """So it can be renewed."""
        tokens = iter(["first", "second"])

        assert ["Bearer first", "Bearer second"] == await sent_by(
            Credentials(lambda: next(tokens)), calls=2
        )

    async def test_none_sends_none(self) -> None:
        """Not an empty one."""
        assert [None] == await sent_by(Credentials())

    def test_is_part_of_what_streams_send(self) -> None:
        """Those that are driven by hand, as a worker's."""
        channel = Channel("127.0.0.1:1", credentials=Credentials(SECRET))

        assert ("authorization", f"Bearer {SECRET}") in channel.metadata()

    @pytest.mark.parametrize("token", ["", " ", "a\nb", "schlüssel", "a\x7fb"])
    def test_that_cannot_be_sent(self, token: str) -> None:
        """It is refused without being quoted, whether given or made."""
        with pytest.raises(ConfigurationError, match="not shown here"):
            Credentials(token)
        with pytest.raises(ConfigurationError, match="not shown here"):
            Credentials(lambda: token).authorization()

    async def test_appears_nowhere(
        self, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not in representations, spans, logs, or errors about other headers."""
        caplog.set_level(logging.DEBUG)
        credentials = Credentials(SECRET, tls=None)
        await sent_by(credentials)
        with (
            request(request_id="\n"),
            pytest.raises(ValidationError) as refused,
        ):
            Channel("127.0.0.1:1", credentials=credentials).metadata()
        told = [repr(credentials), str(refused.value), caplog.text]
        told += [span.to_json() for span in spans.get_finished_spans()]

        assert not [text for text in told if SECRET in text]


class TestPlaintext:
    @pytest.mark.parametrize(
        "target",
        [
            "127.0.0.1:1",
            "localhost:1",
            "[::1]:1",
            "dns:///localhost:1",
            "unix:/run/m",
            "ipv4:127.0.0.1:1",
        ],
    )
    def test_stays_on_this_machine(self, target: str) -> None:
        """There it may carry a token."""
        assert is_local(target)

    @pytest.mark.parametrize(
        "target",
        [
            "cache:50051",
            "10.0.0.7:1",
            "[2001:db8::1]:1",
            "dns://127.0.0.1/cache:1",
            "ipv4:127.0.0.1:1,10.0.0.7:1",
            "localhost.example:1",
            "xds:///localhost-cache",
            "xds:///localhost:1",
            "dns://10.0.0.7/localhost:1",
        ],
    )
    def test_does_not_carry_a_token_farther(self, target: str) -> None:
        """Unless somebody says that it is encrypted all the same."""
        with pytest.raises(ConfigurationError, match="for everybody between to read"):
            Channel(target, credentials=Credentials(SECRET))
        Channel(target, credentials=Credentials(SECRET, plaintext=True))

    def test_is_refused_by_all_that_make_connections(self) -> None:
        """When they are made, or begin."""
        credentials = Credentials(SECRET)
        with pytest.raises(ConfigurationError):
            Mainstay(cache="cache:50051", credentials=credentials)
        worker = Worker("jobs:50053", credentials=credentials)
        with pytest.raises(ConfigurationError):
            asyncio.run(worker.run())


class TestFiles:
    @pytest.mark.parametrize("name", ["ca", "certificate", "key"])
    def test_are_paths(self, name: str) -> None:
        """A text might be the certificate itself, or the name of its file."""
        files: dict[str, Any] = {"certificate": Path("c.pem"), "key": Path("k.pem"), name: "x.pem"}
        with pytest.raises(ConfigurationError, match=rf"Tls\({name}=\.\.\.\) takes a pathlib"):
            Tls(**files)

    def test_come_in_pairs(self, tmp_path: Path) -> None:
        """A certificate without its key proves nothing."""
        with pytest.raises(ConfigurationError, match="go together"):
            Tls(certificate=tmp_path / "client.pem")

    def test_that_are_missing(self, tmp_path: Path) -> None:
        """The error names the argument and the file, before any call."""
        with pytest.raises(ConfigurationError, match=r"^Tls\(ca=\) .*ca.pem does not exist"):
            Channel("cache:50051", credentials=Credentials(tls=Tls(ca=tmp_path / "ca.pem")))
