"""Callers that break every rule: each gets a clear error or a closed connection, and no more.

After each of them an ordinary call works, and nothing that came back tells of the inside.
"""

import asyncio
import random
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psutil
import pytest
import pytest_asyncio

from mainstay.cache.client import CacheClient
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.faults.http2_peer import Answer, Http2Peer, framed
from tests.integration.shared.service_process import ServiceProcess, cache_process

pytestmark = [pytest.mark.hostile, pytest.mark.asyncio(loop_scope="module")]

CACHE = "/mainstay.cache.v1.CacheService"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
ASKED = pb.GetRequest(namespace="n", key="k").SerializeToString()
INSIDE = re.compile(
    r"traceback|file \"|\.py\b|/work|/usr/|site-packages|exception|grpc\.aio|asyncio|redis_store"
    r"|services\.|shared\.|object at 0x|DecodeError|NoneType|password",
    re.IGNORECASE,
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 15.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(session_redis_url: str) -> AsyncIterator[ServiceProcess]:
    """Start one cache process that has to survive all of it."""
    async with cache_process(redis_url=session_redis_url, max_concurrent_calls=64) as process:
        await process.line("service_ready")
        yield process


@pytest.fixture
def address(service: ServiceProcess) -> str:
    return str(service.events("service_ready")[0]["address"])


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def goes_on(service: ServiceProcess, address: str) -> AsyncIterator[None]:
    """After the test: an ordinary call works, at once, and the process is the same and quiet."""
    yield
    async with Channel(address, timeout=5.0) as channel:
        cache = CacheClient(channel)
        await cache.set("n", "after", b"well")
        entry = await cache.get("n", "after")
        health = health_pb2_grpc.HealthStub(channel.raw)
        checked = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)

    assert entry is not None
    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert service.process.returncode is None
    loud = [line for line in service.lines if line["level"] in {"error", "critical"}]
    service.lines[:] = [line for line in service.lines if line not in loud]
    assert loud == []


def check_says_nothing_internal(answer: Answer) -> None:
    found = INSIDE.search(answer.text)
    assert found is None, f"{found} in {answer.text}"


async def send(address: str, junk: bytes) -> bytes:
    """Put bytes on a fresh connection and read until the other end hangs up."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(junk)
            writer.write_eof()
            return await reader.read()
    except OSError:
        return b""
    finally:
        writer.transport.abort()


class TestBytesThatAreNoHttp2:
    @pytest.mark.parametrize(
        "junk",
        [
            random.Random(1).randbytes(4_096),
            b"\x00" * 10_000,
            b"\xff" * 10_000,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.Random(2).randbytes(500),
            b"*1\r\n$4\r\nPING\r\n",
            PREFACE + b"\xff" * 1_000,
            PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
            PREFACE[:10],
        ],
        ids=["random", "zeros", "ones", "TLS", "RESP", "bad frames", "endless frame", "half"],
    )
    async def test_close_the_connection(self, address: str, junk: bytes) -> None:
        """Whatever comes back is HTTP/2's own farewell."""
        answer = await send(address, junk)

        assert INSIDE.search(answer.decode("latin-1")) is None

    async def test_an_http1_request(self, address: str) -> None:
        """A browser or a health probe at the wrong port is told so or cut off."""
        answer = await send(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")

        assert b"200 OK" not in answer
        assert INSIDE.search(answer.decode("latin-1")) is None

    async def test_a_connection_that_says_nothing(self, address: str) -> None:
        """Two hundred of them hold up nobody."""
        host, _, port = address.rpartition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(200)]
        async with Channel(address, timeout=2.0) as channel:
            entry = await CacheClient(channel).get("n", "nothing")
        for _, writer in opened:
            writer.transport.abort()

        assert not hasattr(entry, "value")


class TestCallsThatAreNone:
    @pytest.mark.parametrize(
        ("path", "status"),
        [
            (f"{CACHE}/Nope", "12"),
            ("/no.such.Service/Get", "12"),
            ("/", "12"),
            ("no-slash", "12"),
            (f"{CACHE}/Get/Get", "12"),
            (f"{CACHE}/" + "x" * 4_000, "12"),
            (f"{CACHE}/%00%0a\x7f", "12"),
        ],
        ids=["method", "service", "slash", "no slash", "deeper", "long", "odd"],
    )
    async def test_a_method_that_does_not_exist(self, address: str, path: str, status: str) -> None:
        """UNIMPLEMENTED, or refused by HTTP/2 itself."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(await peer.call(path, framed(ASKED)))

        assert answer.status == status or answer.reset is not None or peer.closed.is_set()
        check_says_nothing_internal(answer)

    async def test_a_content_type_that_is_not_grpc(self, address: str) -> None:
        """JSON is no gRPC: refused without a look at the body."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(
                await peer.call(f"{CACHE}/Get", b'{"key": "k"}', content_type="application/json")
            )

        assert answer.status != "0"
        check_says_nothing_internal(answer)

    @pytest.mark.parametrize("path", [WATCH, REFLECT, "/no.such.Service/Get"])
    async def test_headers_and_nothing_else(self, address: str, path: str) -> None:
        """A call that ends before its request began ends for us too."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(await peer.call(path, None, end=True))

        # A reflection stream without questions is empty; a watch wants one message.
        assert answer.status == {REFLECT: "0", "/no.such.Service/Get": "12"}.get(path, "3")
        check_says_nothing_internal(answer)

    @pytest.mark.parametrize("end", [False, True], ids=["silence", "the end"])
    async def test_headers_and_then(self, address: str, end: bool) -> None:
        """Hundreds of calls whose request never comes take no slot from those that do."""
        async with Http2Peer.connect(address) as peer, Channel(address, timeout=2) as channel:
            for _ in range(300):
                await peer.call(f"{CACHE}/Get", None, end=end)
            entry = await CacheClient(channel).get("n", "nothing")

        assert not hasattr(entry, "value")

    async def test_half_a_message(self, address: str) -> None:
        """The length says more than comes, and then the stream ends."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(
                await peer.call(WATCH, struct.pack(">BI", 0, 100) + b"short")
            )

        assert answer.status != "0"
        check_says_nothing_internal(answer)

    @pytest.mark.parametrize("flag", [1, 2, 255])
    async def test_compression_that_was_not_agreed(self, address: str, flag: int) -> None:
        """A flag without an encoding, or one that does not exist."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(
                await peer.call(f"{CACHE}/Get", framed(ASKED, compressed=flag))
            )

        assert answer.status != "0"
        check_says_nothing_internal(answer)


class TestMessagesThatAreNone:
    @pytest.mark.parametrize(
        "junk",
        [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b" * 5_000],
        ids=["no field", "endless field", "no UTF-8", "nested groups"],
    )
    @pytest.mark.parametrize("method", ["Get", "Set", "Delete", "BatchGet"])
    async def test_broken_protobuf(self, address: str, method: str, junk: bytes) -> None:
        """INVALID_ARGUMENT that names the method; nothing of the parser's text."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(await peer.call(f"{CACHE}/{method}", framed(junk)))

        assert answer.status == "3"
        assert f"CacheService/{method} cannot be parsed" in answer.message
        check_says_nothing_internal(answer)

    @pytest.mark.parametrize("method", ["Get", "Set"])
    async def test_five_mebibytes(self, address: str, method: str) -> None:
        """RESOURCE_EXHAUSTED: more than 4 MiB is not even parsed."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(
                await peer.call(f"{CACHE}/{method}", framed(b"\x00" * (5 * 1024 * 1024)))
            )

        assert answer.status == "8"
        check_says_nothing_internal(answer)

    async def test_a_length_of_four_gigabytes(self, address: str) -> None:
        """Announced, not sent: nothing is set aside for it."""
        async with Http2Peer.connect(address) as peer:
            body = struct.pack(">BI", 0, 2**32 - 1) + b"x"
            answer = await peer.finished(await peer.call(f"{CACHE}/Get", body))

        assert answer.status != "0"
        check_says_nothing_internal(answer)

    @pytest.mark.parametrize(
        "request_",
        [
            pb.GetRequest(),
            pb.GetRequest(namespace="n" * 100_000, key="k"),
            pb.GetRequest(namespace="n", key="k" * 3_000_000),
            pb.GetRequest(namespace="\x00", key="\r\n"),
            pb.GetRequest(namespace="{n}", key="*"),
        ],
        ids=["empty", "long namespace", "long key", "control", "braces"],
    )
    async def test_valid_protobuf_that_means_nothing(
        self, address: str, request_: pb.GetRequest
    ) -> None:
        """A clear answer or a clear error, within a bounded size."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(
                await peer.call(f"{CACHE}/Get", framed(request_.SerializeToString()))
            )

        assert answer.status in {"0", "3"}
        assert len(answer.text) < 20_000
        check_says_nothing_internal(answer)


class TestMetadata:
    @pytest.mark.parametrize(
        "headers",
        [
            [("x-big", "x" * 1024 * 1024)],
            [(f"x-{n}", "x" * 1024) for n in range(1024)],
            [("x-request-id", "x" * 100_000)],
            [("authorization", "Bearer " + "x" * 100_000)],
        ],
        ids=["one value", "many values", "request id", "authorization"],
    )
    @pytest.mark.parametrize("polite", [True, False], ids=["polite", "hasty"])
    async def test_a_mebibyte(
        self, address: str, headers: list[tuple[str, str]], polite: bool
    ) -> None:
        """Refused by its size, in one header or in a thousand, whether it waits for settings."""
        async with Http2Peer.connect(address, polite=polite) as peer:
            answer = await peer.finished(
                await peer.call(f"{CACHE}/Get", framed(ASKED), headers=headers)
            )

        assert answer.status != "0"
        check_says_nothing_internal(answer)

    @pytest.mark.parametrize(
        "headers",
        [
            [("grpc-timeout", "soon")],
            [("grpc-timeout", "-1S")],
            [("grpc-timeout", "99999999999999H")],
            [("x-mainstay-tenant", "../../etc/passwd")],
            [("x-mainstay-tenant", "a"), ("x-mainstay-tenant", "b")],
            [("traceparent", "00-" + "z" * 52)],
            [("tracestate", "=" * 2_000)],
            [("grpc-encoding", "brotli")],
            [("grpc-trace-bin", "not base64 !")],
            [(b"x-\xff", b"\xff")],
            [("X-Upper", "case")],
            [("connection", "close")],
            [("", "nameless")],
            [(":path", "/twice")],
        ],
        ids=lambda headers: f"{headers[0][0]!s}={headers[0][1]!s:.12}",
    )
    async def test_values_that_mean_nothing(
        self, address: str, headers: list[tuple[Any, Any]]
    ) -> None:
        """Ignored, refused or cut off, and never a stack."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(
                await peer.call(f"{CACHE}/Get", framed(ASKED), headers=headers)
            )

        check_says_nothing_internal(answer)

    async def test_no_deadline(self, address: str) -> None:
        """A call without one is answered like any other; it has the method's."""
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(await peer.call(f"{CACHE}/Get", framed(ASKED)))

        assert answer.status == "0"

    @pytest.mark.parametrize("limit", ["0n", "1n", "0S"])
    async def test_a_deadline_that_is_as_good_as_past(self, address: str, limit: str) -> None:
        """It is answered, if in time, or it is over."""
        timeout = [("grpc-timeout", limit)]
        async with Http2Peer.connect(address) as peer:
            answer = await peer.finished(
                await peer.call(f"{CACHE}/Get", framed(ASKED), headers=timeout)
            )

        check_says_nothing_internal(answer)


class TestAClientThatNeverReads:
    async def test_of_calls(self, address: str, service: ServiceProcess) -> None:
        """A window of 0 and as many calls as the connection may have: others are served."""
        value = b"x" * 200_000
        async with Channel(address, timeout=5) as channel:
            cache = CacheClient(channel)
            await cache.set("n", "k", value)
            before = memory_of(service)
            async with Http2Peer.connect(address, window=0) as stuck:
                for _ in range(500):
                    await stuck.call(f"{CACHE}/Get", framed(ASKED))
                for _ in range(20):
                    await cache.get("n", "k")
                grown = memory_of(service) - before
            await cache.delete("n", "k")

        assert grown < 300

    async def test_of_streams(self, address: str) -> None:
        """Nor can watchers and reflection calls that read nothing stop anything."""
        asked = framed(b"\x3a\x00")
        async with Http2Peer.connect(address, window=0) as stuck:
            for _ in range(200):
                await stuck.call(WATCH, framed(b""))
                await stuck.call(REFLECT, asked, end=False)
            async with Channel(address, timeout=2) as channel:
                entry = await CacheClient(channel).get("n", "nothing")

        assert not hasattr(entry, "value")

    async def test_more_streams_than_it_may_have(self, address: str) -> None:
        """A connection that ignores the limit on streams is refused the rest."""
        async with Http2Peer.connect(address, window=0) as stuck:
            stuck.ignore_limits()
            answers = [await stuck.call(WATCH, framed(b"")) for _ in range(1_100)]
            refused = await stuck.finished(answers[-1])
            async with Channel(address, timeout=2) as channel:
                entry = await CacheClient(channel).get("n", "nothing")

        assert refused.reset is not None or stuck.closed.is_set()
        assert not hasattr(entry, "value")

    async def test_resets_in_a_row(self, address: str) -> None:
        """Opening and resetting streams as fast as it can keeps no one busy for long."""
        async with Http2Peer.connect(address) as rapid, Channel(address, timeout=5) as channel:
            for _ in range(2_000):
                await rapid.call_and_reset(f"{CACHE}/Get", framed(ASKED))
                if rapid.closed.is_set():
                    break
            entry = await CacheClient(channel).get("n", "nothing")

        assert not hasattr(entry, "value")


def memory_of(service: ServiceProcess) -> int:
    """Return the MiB that the process occupies."""
    return int(psutil.Process(service.process.pid).memory_info().rss) >> 20


class TestAllAtOnce:
    async def test_ordinary_callers_are_served_meanwhile(self, address: str) -> None:
        """A storm of everything above, and every polite call is answered."""
        chance = random.Random(3)

        async def garbage() -> None:
            await send(address, chance.randbytes(1_000))

        async def unknown() -> None:
            async with Http2Peer.connect(address) as peer:
                await peer.finished(await peer.call("/x.Y/Z", framed(b"")))

        async def broken() -> None:
            async with Http2Peer.connect(address) as peer:
                await peer.finished(await peer.call(f"{CACHE}/Set", framed(b"\xff" * 10)))

        async def stuck() -> None:
            async with Http2Peer.connect(address, window=0) as peer:
                for _ in range(20):
                    await peer.call(WATCH, framed(b""))

        async def polite(number: int) -> bytes:
            async with Channel(address, timeout=5) as channel:
                cache = CacheClient(channel)
                await cache.set("n", f"polite-{number}", b"%d" % number)
                entry = await cache.get("n", f"polite-{number}")
            return getattr(entry, "value", b"")

        rude: list[Callable[[], Awaitable[None]]] = [garbage, unknown, broken, stuck]
        storm = [asyncio.ensure_future(act()) for act in rude for _ in range(15)]
        values = await asyncio.gather(*(polite(n) for n in range(20)))
        await asyncio.gather(*storm)

        assert values == [b"%d" % n for n in range(20)]
