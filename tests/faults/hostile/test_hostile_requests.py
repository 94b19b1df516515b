"""Requests that break every rule: each gets a clear error or a closed connection, and no more.

After each of them an ordinary call works, and nothing that came back tells of the inside.
"""

import struct
from typing import Any

import pytest

from mainstay.cache.v1 import cache_service_pb2 as pb
from tests.faults.hostile.hostile_input import (
    ASKED,
    CACHE,
    REFLECT,
    SOON,
    WATCH,
    check_says_nothing_internal,
    seconds_to_answer,
)
from tests.faults.http2_peer import Http2Peer, framed

pytestmark = [pytest.mark.hostile, pytest.mark.asyncio(loop_scope="module")]


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
        async with Http2Peer.connect(address) as peer:
            for _ in range(300):
                await peer.call(f"{CACHE}/Get", None, end=end)
            took = await seconds_to_answer(address)

        assert took < SOON

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
