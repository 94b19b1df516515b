"""What the fault suite breaks things with: it has to break them, and nothing else."""

import asyncio
import errno
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest

from cli.ports import free_port, free_ports
from cli.process import Command
from mainstay.cache import CacheClient
from mainstay.channel import Channel
from mainstay.errors import MainstayError, UnavailableError
from tests.faults.jobs_suite.link import Link
from tests.faults.jobs_suite.process import Process
from tests.faults.jobs_suite.stage import ROOT
from tests.faults.suite import clock, disk, namespaces
from tests.faults.suite.namespaces import ENTER

pytestmark = pytest.mark.timeout(60)
LINE = b"x" * 99 + b"\n"
SOON = 0.3


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """Link to a server that says what it is told."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Link.to(server.sockets[0].getsockname()[1]) as link:
        yield link
        for caller in Caller.all_of_them:
            await caller.leave()
        Caller.all_of_them.clear()


class Caller:
    """Says a line and waits for it."""

    all_of_them: ClassVar[list["Caller"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.all_of_them.append(self)

    @classmethod
    async def of(cls, link: Link) -> "Caller":
        return cls(*await asyncio.open_connection("127.0.0.1", link.port))

    async def leave(self) -> None:
        """Close the connection."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def heard(self, *, within: float = 5.0) -> bytes | None:
        """Return what came back, None for nothing."""
        self._writer.write(LINE)
        try:
            async with asyncio.timeout(within):
                return await self._reader.readline()
        except TimeoutError:
            return None


class TestLink:
    async def test_carries(self, link: Link) -> None:
        """Nothing is lost as long as nobody breaks it."""
        assert LINE == await (await Caller.of(link)).heard()

    async def test_swallows_until_it_is_mended(self, link: Link) -> None:
        """Old connections and new ones are silent; new ones are not once it is mended."""
        old = await Caller.of(link)
        await old.heard()
        link.sever()

        assert await old.heard(within=SOON) is None
        assert await (await Caller.of(link)).heard(within=SOON) is None
        link.mend()
        assert LINE == await (await Caller.of(link)).heard()

    async def test_half_closes(self, link: Link) -> None:
        """The client sees the end of what the server says."""
        caller = await Caller.of(link)
        await caller.heard()
        link.half_close()

        assert b"" == await caller.heard()

    async def test_drips(self, link: Link) -> None:
        """At 400 bytes a second a hundred take a quarter of a second."""
        link.rate = 400.0
        began = time.monotonic()

        assert LINE == await (await Caller.of(link)).heard()
        assert time.monotonic() - began > 0.2


@pytest.mark.skipif(not disk.possible(), reason="only root mounts")
class TestDisk:
    def test_is_full_until_it_is_freed(self, tmp_path: Path) -> None:
        """Not a byte more is written, and all of it again afterwards."""
        with disk.small_disk(tmp_path / "disk", "1m") as small:
            small.fill()
            with pytest.raises(OSError, match="No space left") as raised:
                (small.folder / "more").write_bytes(b"x" * 5000)
            small.free()
            (small.folder / "more").write_bytes(b"x" * 5000)

        assert errno.ENOSPC == raised.value.errno


@pytest.mark.skipif(not clock.possible(), reason="needs a C compiler")
class TestClock:
    async def test_is_set_while_a_process_runs(self, tmp_path: Path) -> None:
        """The clock of the day jumps, that of intervals does not."""
        environment = clock.environment(tmp_path, "cache-2")
        script = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        off = []
        for step in (0.0, 3600.0, -3600.0):
            clock.set_clock(tmp_path, "cache-2", step)
            process.stdin.write(b"now\n")
            told, steady = map(float, (await process.stdout.readline()).split())
            gone = (told - time.time(), steady - time.monotonic())
            off.append(tuple(round(each / 60) for each in gone))
        process.stdin.close()
        process.kill()
        await process.wait()

        assert [(0, 0), (60, 0), (-60, 0)] == off


@pytest.mark.skipif(not namespaces.possible(), reason="needs root and network namespaces")
class TestNamespaces:
    def test_two_parties_are_cut_off_and_others_are_not(self) -> None:
        """What one sends the other is lost, both ways; a third reaches both; mended, all do."""
        parties = ["one", "other", "third"]
        with namespaces.namespaces(parties) as network:

            def reaches(source: str, target: str) -> bool:
                # A packet to a port where nobody listens is answered; one that is lost is not.
                script = (
                    "import socket, sys\n"
                    "try: socket.create_connection((sys.argv[1], 9), timeout=1)\n"
                    "except ConnectionRefusedError: sys.exit(0)\n"
                    "except TimeoutError: sys.exit(1)\n"
                )
                inside = [sys.executable, "-I", "-S", str(ENTER), str(network.path(source)), "-"]
                given = [sys.executable, "-c", script, network.host(target)]
                return subprocess.run([*inside, *given], check=False).returncode == 0

            before = reaches("one", "other")
            network.sever("one", "other")
            severed = [reaches("one", "other"), reaches("other", "one"), reaches("third", "one")]
            network.mend("one", "other")
            after = reaches("one", "other")

        assert (True, [False, False, True], True) == (before, severed, after)
        assert not [*namespaces.FOLDER.glob(f"{namespaces.PREFIX}-{network.run_id}-*")]


class TestFrozenReplica:
    async def test_callers_go_on_with_another(self, redis_url: str, tmp_path: Path) -> None:
        """Whoever does not answer, though connected, is given up within 14 seconds.

        Some more are left to a busy machine; left to itself gRPC waits for a minute and more.
        """
        ports = free_ports(2)
        replicas = [
            cache_at(port, redis_url, tmp_path / f"{port}.log", tmp_path / f"{port}.lock")
            for port in ports
        ]
        try:
            for replica in replicas:
                await replica.start()
            await asyncio.gather(*(replica.answers() for replica in replicas))
            target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
            async with Channel(target, timeout=1.0) as channel:
                cache = CacheClient(channel)
                await cache.set("n", "k", b"value")
                replicas[0].send(signal.SIGSTOP)
                began = time.monotonic()
                async with asyncio.timeout(30):
                    await until_it_answers(cache)
            seconds = time.monotonic() - began
        finally:
            for replica in replicas:
                await replica.kill()

        assert seconds < 20


class TestServiceThatEnds:
    """It cancels calls that have arrived and that nobody has looked at yet; so does a full one."""

    async def test_what_may_be_repeated_is(self) -> None:
        """Whoever called knows nothing of it."""
        async with giving_up(calls=1) as channel:
            assert b"answer" == await channel.unary(echo_of(channel), b"", retry=True)

    async def test_what_may_not_be_is_told_apart(self) -> None:
        """It is an error that passes, not a caller who went away."""
        async with giving_up(calls=1) as channel:
            with pytest.raises(UnavailableError) as raised:
                await channel.unary(echo_of(channel), b"")

        assert raised.value.transient

    async def test_of_a_stream_too(self) -> None:
        """Whoever watches opens another one; an error that does not pass would end the watch."""
        async with giving_up(calls=1) as channel:
            watch = watch_of(channel)
            with pytest.raises(UnavailableError) as raised:
                await anext(channel.server_stream(watch, b""))
            again = await anext(channel.server_stream(watch, b""))

        assert raised.value.transient
        assert b"answer" == again


@asynccontextmanager
async def giving_up(*, calls: int) -> AsyncIterator[Channel]:
    """Serve a method that cancels its first calls, and connect to it."""
    left = [None] * calls

    async def answer(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        if left:
            left.pop()
            await context.abort(grpc.StatusCode.CANCELLED)
        return b"answer"

    async def answers(
        request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> AsyncIterator[bytes]:
        yield await answer(request, context)

    server = grpc.aio.server()
    methods: dict[str, Any] = {
        "Echo": grpc.unary_unary_rpc_method_handler(answer),
        "Watch": grpc.unary_stream_rpc_method_handler(answers),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


def echo_of(channel: Channel) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    """Return what calls the method."""
    return channel.raw.unary_unary("/test.Test/Echo")


def watch_of(channel: Channel) -> "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]":
    """Return what opens a stream of it."""
    return channel.raw.unary_stream("/test.Test/Watch")


async def until_it_answers(cache: CacheClient) -> None:
    """Ask until an answer comes."""
    while True:
        with suppress(MainstayError):
            await cache.get("n", "k")
            return


def cache_at(port: int, redis_url: str, log: Path, lock: Path) -> Process:
    """Return a process of the cache."""
    command = Command(
        name=f"cache-{port}",
        argv=[sys.executable, "-m", "services.cache"],
        directory=ROOT,
        log=log,
        lock=lock,
        environment={
            "MAINSTAY_REDIS_URL": redis_url,
            "MAINSTAY_CACHE_PORT": str(port),
            "MAINSTAY_CACHE_OPS_PORT": "0",
            "MAINSTAY_LOG_FORMAT": "json",
            "MAINSTAY_LOG_LEVEL": "debug",
        },
    )
    return Process(command.name, command, port=port)


class TestLogsThatNobodyTakes:
    async def test_calls_are_answered(self, redis_url: str, tmp_path: Path) -> None:
        """A service whose output has no room serves on."""
        port = free_port()
        process = cache_at(port, redis_url, Path("/dev/full"), tmp_path / "lock")
        await process.start()
        try:
            await process.answers()
            async with Channel(f"127.0.0.1:{port}") as channel:
                cache = CacheClient(channel)
                await cache.set("n", "k", b"value")
                found = [await cache.get("n", "k") for _ in range(20)]
            assert process.runs
        finally:
            await process.kill()

        assert {b"value"} == {getattr(each, "value", None) for each in found}
