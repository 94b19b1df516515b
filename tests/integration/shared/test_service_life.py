"""What a service does with its parts: in order, with patience, and never half."""

import asyncio
import json
from typing import Any

import pytest

from mainstay.channel import Channel
from mainstay.errors import ConfigurationError, DatabaseError, UnavailableError
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from shared.config import CommonSettings
from shared.http import HttpServer
from shared.operations import operations_app
from shared.rpc.health import HealthRegistry
from shared.service import Service
from tests.integration.health.plain_http import ask
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.waiting import PATIENCE, until


class Part:
    """A resource that notes its life, and fails as it is told."""

    def __init__(
        self, name: str, life: list[str], *failures: Exception, closing: Exception | None = None
    ) -> None:
        self.name = name
        self._life = life
        self._failures = list(failures)
        self._closing = closing

    async def start(self) -> None:
        self._life.append(f"start {self.name}")
        if self._failures:
            raise self._failures.pop(0)

    async def close(self) -> None:
        self._life.append(f"close {self.name}")
        if self._closing is not None:
            raise self._closing


def service(**settings: Any) -> Service:
    return Service(
        "probe", CommonSettings(**{"shutdown_grace": 0.5, **settings}), port=0, ops_port=0
    )


async def exit_code(service: Service) -> int:
    async with asyncio.timeout(PATIENCE):
        return await service.main()


class TestResources:
    async def test_start_in_order_and_close_in_reverse(self) -> None:
        """Who was started last is needed by nobody else."""
        life: list[str] = []
        app = service()
        app.use(Part("a", life))
        app.use(Part("b", life))
        async with app.running():
            life.append(f"serving {app.serving}")

        assert life == ["start a", "start b", "serving True", "close b", "close a"]
        assert not app.serving

    async def test_are_tried_until_they_come(self, log_lines: ReadLog) -> None:
        """What is transient is waited for, each time a little longer."""
        life: list[str] = []
        app = service()
        app.use(Part("a", life, UnavailableError("one"), DatabaseError("two")))
        async with app.running():
            pass
        waits = [line for line in log_lines() if line["event"] == "dependency_waiting"]

        assert life == ["start a"] * 3 + ["close a"]
        assert [(line["dependency"], line["error"]) for line in waits] == [
            ("a", "one"),
            ("a", "two"),
        ]

    async def test_that_cannot_come_end_the_start(self) -> None:
        """What was begun is closed, what was not is left alone."""
        life: list[str] = []
        app = service()
        app.use(Part("a", life))
        app.use(Part("b", life, ConfigurationError("wrong password")))
        app.use(Part("c", life))
        with pytest.raises(ConfigurationError):
            async with app.running():
                pass

        assert life == ["start a", "start b", "close b", "close a"]

    async def test_one_that_does_not_close_does_not_keep_the_others(
        self, log_lines: ReadLog
    ) -> None:
        """It is said, and the rest is closed all the same."""
        life: list[str] = []
        app = service()
        app.use(Part("a", life))
        app.use(Part("b", life, closing=RuntimeError("stuck")))
        async with app.running():
            pass

        assert life[-2:] == ["close b", "close a"]
        (line,) = [line for line in log_lines() if line["event"] == "drain_step_failed"]
        assert (line["part"], "stuck" in line["exception"]) == ("b", True)


class TestBackgroundTasks:
    async def test_run_while_it_serves(self) -> None:
        """They are cancelled and awaited before what they use is closed."""
        life: list[str] = []
        app = service()
        app.use(Part("a", life))

        async def work() -> None:
            life.append("work")
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                life.append("end")

        app.background("work", work)
        async with app.running():
            await until(lambda: "work" in life)

        assert life == ["start a", "work", "end", "close a"]

    @pytest.mark.parametrize("error", [RuntimeError("boom"), None], ids=["crashes", "ends"])
    async def test_that_end_take_the_service_along(
        self, log_lines: ReadLog, error: Exception | None
    ) -> None:
        """Without its sweeper a service only looks healthy: exit code 1, and why."""

        async def work() -> None:
            if error:
                raise error

        app = service()
        app.background("sweep", work)
        code = await exit_code(app)
        (line,) = [line for line in log_lines() if line["event"].startswith("background_task")]

        assert code == 1
        assert (line["task"], line["level"]) == ("sweep", "fatal")


class TestDrainHooks:
    async def test_run_before_calls_are_cut(self) -> None:
        """A hook is called once, while what it needs still lives."""
        life: list[str] = []
        app = service()
        app.use(Part("a", life))

        async def hook() -> None:
            life.append(f"drain {app.serving}")

        app.on_drain(hook)
        async with app.running():
            pass

        assert life == ["start a", "drain False", "close a"]

    async def test_one_that_fails_does_not_stop_the_drain(self, log_lines: ReadLog) -> None:
        """The rest of the drain happens all the same."""
        life: list[str] = []
        app = service()
        app.use(Part("a", life))

        async def hook() -> None:
            raise RuntimeError("boom")

        app.on_drain(hook)
        async with app.running():
            pass

        assert life[-1] == "close a"
        (line,) = [line for line in log_lines() if line["event"] == "drain_step_failed"]
        assert line["part"] == "drain hook"


class TestAddresses:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    async def test_are_what_a_client_takes(self, host: str) -> None:
        """Whichever way loopback is written."""
        app = service(host=host)
        async with app.running(), Channel(app.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel.raw)
            checked = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)

        assert checked.status == health_pb2.HealthCheckResponse.SERVING

    async def test_a_taken_port_is_said(self) -> None:
        """By the service that comes second; the first one goes on."""
        first = service()
        async with first.running():
            port = int(first.address.rpartition(":")[2])
            second = Service("second", CommonSettings(), port=port, ops_port=0)
            with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
                async with second.running():
                    pass

            assert first.serving


class TestOperations:
    async def test_refuses_what_it_does_not_know(self) -> None:
        """No other paths, no writing, nothing about what is behind it."""
        server = HttpServer("ops", operations_app("probe", HealthRegistry()), "127.0.0.1", 0)
        await server.start()
        try:
            answers = [
                await ask(server.port, "/nothing"),
                await ask(server.port, "/livez", method="POST"),
                await ask(server.port, "/../etc/passwd"),
            ]
        finally:
            await server.close()

        assert [answer.status for answer in answers] == [404, 405, 404]
        assert all("server" not in answer.headers for answer in answers)

    async def test_shows_what_somebody_should_look_at(self) -> None:
        """A condition says so while it lasts, and takes no instance out."""
        service = Service("probe", CommonSettings(), port=0, ops_port=0)
        async with service.running():
            port = int(service.ops_address.rpartition(":")[2])
            fine = await ask(port, "/readyz")
            service.report_condition("policy", "line 3: is wrong")
            faulty = await ask(port, "/readyz")
            service.report_condition("policy", None)
            fine_again = await ask(port, "/readyz")

        assert [200, 200, 200] == [fine.status, faulty.status, fine_again.status]
        ready = {"service": "probe", "status": "ready"}
        assert {**ready, "conditions": {"policy": "line 3: is wrong"}} == json.loads(faulty.body)
        assert ready == json.loads(fine.body) == json.loads(fine_again.body)

    async def test_has_started_once_it_has_served(self) -> None:
        """Whatever comes later: a startup probe that fails again would have it killed."""
        health = HealthRegistry()
        server = HttpServer("ops", operations_app("probe", health), "127.0.0.1", 0)
        await server.start()
        found = []
        try:
            for serving in (False, True, False):
                health.set_serving(serving=serving)
                found.append(await ask(server.port, "/startupz"))
        finally:
            await server.close()

        assert [503, 200, 200] == [answer.status for answer in found]
        assert {"service": "probe", "status": "starting"} == found[0].document()

    async def test_says_the_same_whatever_the_method(self) -> None:
        """HAProxy asks with OPTIONS, of the root if it is not told better; nothing redirects."""
        health = HealthRegistry()
        server = HttpServer("ops", operations_app("probe", health), "127.0.0.1", 0)
        await server.start()
        found = []
        try:
            for serving in (False, True):
                health.set_serving(serving=serving)
                for path in ("/readyz", "/"):
                    asked = await ask(server.port, path, method="OPTIONS", version="1.0", host=None)
                    found.append(asked.status)
            head = await ask(server.port, "/startupz", method="HEAD")
            slash = await ask(server.port, "/readyz/")
        finally:
            await server.close()

        assert [503, 503, 200, 200] == found
        assert (200, b"", 404) == (head.status, head.body, slash.status)

    async def test_is_not_ready_before_it_serves(self) -> None:
        """Alive from the first moment, ready when calls are welcome, never cached."""
        health = HealthRegistry()
        server = HttpServer("ops", operations_app("probe", health), "127.0.0.1", 0)
        await server.start()
        try:
            before = await ask(server.port, "/readyz")
            health.set_serving(serving=True)
            after = await ask(server.port, "/readyz")
            head = await ask(server.port, "/livez", method="HEAD")
        finally:
            await server.close()

        assert (before.status, after.status) == (503, 200)
        assert (head.status, head.body) == (200, b"")
        assert after.headers["cache-control"] == "no-store"
