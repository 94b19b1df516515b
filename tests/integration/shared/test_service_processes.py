"""Several processes of one service on one port: they share the work and one fate."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from cli.embedded.redis import RedisServer
from cli.ports import free_port, free_ports
from mainstay.cache.v1 import cache_service_pb2 as pb
from shared.processes import PORT_STRIDE
from tests.faults.http2_peer import Http2Peer, framed
from tests.integration.health.plain_http import ask
from tests.integration.shared.service_process import ServiceProcess, cache_process, held_call

GET = "/mainstay.cache.v1.CacheService/Get"
ASKED = framed(pb.GetRequest(namespace="n", key="k").SerializeToString())


class Pair:
    """A service of two processes, both ready."""

    def __init__(self, parent: ServiceProcess, port: int, ops_port: int) -> None:
        self.parent = parent
        self.address = f"127.0.0.1:{port}"
        self.ops_ports = [ops_port, ops_port + PORT_STRIDE]
        self.children = psutil.Process(parent.process.pid).children()

    async def served(self) -> list[bool]:
        """Return whether each process has answered a Get."""
        counted = f'calls_total{{code="OK",method="{GET[1:]}",reason=""}}'.encode()
        pages = [(await ask(port, "/metrics")).body for port in self.ops_ports]
        values = [page.partition(counted)[2].split(b"\n")[0].strip() for page in pages]
        return [value not in {b"", b"0.0"} for value in values]

    async def gone(self) -> list[psutil.Process]:
        """Wait for the children to end; returns those that do not."""
        _, alive = await asyncio.to_thread(psutil.wait_procs, self.children, timeout=10)
        return list(alive)


def free_ports_of_two() -> tuple[int, int]:
    """Return a free port, and another whose companion is free too."""
    while True:
        port, ops_port = free_ports(2)
        second = ops_port + PORT_STRIDE
        if free_port(second) == second != port:
            return port, ops_port


@asynccontextmanager
async def pair(redis_url: str, **settings: object) -> AsyncIterator[Pair]:
    port, ops_port = free_ports_of_two()
    async with cache_process(
        redis_url=redis_url, processes=2, cache_port=port, cache_ops_port=ops_port, **settings
    ) as parent:
        await parent.line("service_ready", 2)
        yield Pair(parent, port, ops_port)


class TestTwoProcesses:
    async def test_share_one_port_and_stop_together(self, redis_url: str) -> None:
        """The kernel spreads connections over both; SIGTERM drains both; exit code 0."""
        async with pair(redis_url) as two:
            for _ in range(24):
                async with Http2Peer.connect(two.address) as peer:
                    await peer.finished(await peer.call(GET, ASKED))
            served = await two.served()
            two.parent.send(signal.SIGTERM)
            code = await two.parent.exited()
            alive = await two.gone()

        assert (served, code, alive) == ([True, True], 0, [])
        assert len(two.parent.events("service_stopped")) == 2

    async def test_a_call_in_one_outlives_the_end_of_the_other(
        self, private_redis: RedisServer
    ) -> None:
        """The idle process leaves at once; the busy one still gets its grace."""
        async with pair(private_redis.url, redis_timeout=10) as two:
            async with held_call(two.parent, private_redis, two.ops_ports) as call:
                two.parent.send(signal.SIGTERM)
                await two.parent.line("process_ended")
                private_redis.resume()
                entry = await call
            code = await two.parent.exited()

        assert (getattr(entry, "value", None), code) == (b"value", 0)
        assert two.parent.events("exiting_at_once") == []

    async def test_ctrl_c_in_a_terminal(self, redis_url: str) -> None:
        """It reaches every process of the group, and still means: drain."""
        async with pair(redis_url) as two:
            os.killpg(two.parent.process.pid, signal.SIGINT)
            code = await two.parent.exited()

        assert (code, len(two.parent.events("service_stopped"))) == (0, 2)
        assert two.parent.events("exiting_at_once") == []

    async def test_a_second_signal_exits_at_once(self, private_redis: RedisServer) -> None:
        """It is passed on."""
        async with (
            pair(private_redis.url, redis_timeout=10, shutdown_grace=60) as two,
            held_call(two.parent, private_redis, two.ops_ports),
        ):
            two.parent.send(signal.SIGTERM)
            await two.parent.line("process_ended")
            two.parent.send(signal.SIGTERM)
            code = await two.parent.exited()

        assert (code, len(two.parent.events("exiting_at_once"))) == (130, 1)

    async def test_one_killed_ends_the_other(self, redis_url: str) -> None:
        """A service that limps helps nobody: whoever watches it is told by the exit code."""
        async with pair(redis_url) as two:
            two.children[1].kill()
            code = await two.parent.exited()
            alive = await two.gone()

        assert (code, alive) == (128 + signal.SIGKILL, [])
        assert len(two.parent.events("service_stopped")) == 1

    async def test_a_killed_parent_leaves_nobody_behind(self, redis_url: str) -> None:
        """Orphans would share the port with whatever is started next."""
        async with pair(redis_url) as two:
            two.parent.send(signal.SIGKILL)
            alive = await two.gone()
            await two.parent.exited()

        assert alive == []
        assert len(two.parent.events("service_stopped")) == 2

    async def test_a_wrong_setting_is_said_once(self) -> None:
        """Before any process is started."""
        async with cache_process(processes=2) as parent:
            code = await parent.exited()

        assert (code, parent.errors.count("MAINSTAY_REDIS_URL")) == (2, 1)
