"""HAProxy's agent check: what each state is told as, and what cannot disturb it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import structlog.testing

from mainstay.errors import ConfigurationError
from services.health import agent
from services.health.agent import AgentServer
from services.health.maintenance import Mode
from services.health.state import State
from tests.integration.health.stand import ONE, OTHER, REDIS, Stand, open_stand


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    """Serve, with everything healthy."""
    async with open_stand() as stand:
        yield stand


async def told(stand: Stand, sent: bytes = b"cache\n") -> str:
    """Return all that HAProxy reads for what its `agent-send` has."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.agent.port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer.decode()


async def _is_hung_up(connection: socket.socket) -> bool:
    """Tell whether the agent ended a connection; closes it."""
    connection.setblocking(False)
    try:
        async with asyncio.timeout(0.2):
            return not await asyncio.get_running_loop().sock_recv(connection, 1)
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    finally:
        connection.close()


class TestAdvice:
    @pytest.mark.parametrize("name", ["cache", ONE.name, "edge", "suite"])
    async def test_up(self, stand: Stand, name: str) -> None:
        """With `ready`, which ends a maintenance that was told before."""
        assert "ready up 100%\n" == await told(stand, f"{name}\n".encode())

    async def test_degraded(self, stand: Stand) -> None:
        """Half the weight: others are preferred, where there are any."""
        stand.see(State.UNHEALTHY, REDIS)

        assert "ready up 50%\n" == await told(stand)

    async def test_down(self, stand: Stand) -> None:
        """With the reason, for HAProxy's log, on one line whatever it holds."""
        stand.see(State.UNHEALTHY, ONE, message="Refused\r\nup 100%\n" + "x" * 500)
        answer = await told(stand, f"{ONE.name}\n".encode())

        assert answer.startswith("ready down #Refused up 100% xxx")
        assert (1, True) == (answer.count("\n"), len(answer) < 200)

    async def test_unknown_is_down(self, stand: Stand) -> None:
        """An old answer invites nobody."""
        stand.see(State.HEALTHY, ONE, age=3600)
        answer = await told(stand, f"{ONE.name}\n".encode())

        assert answer.startswith("ready down #The last probe ended 3600")

    async def test_open(self, stand: Stand) -> None:
        """When all replicas look sick, each of them stays in."""
        stand.see(State.UNHEALTHY, ONE, OTHER)

        assert "ready up 50%\n" == await told(stand, f"{ONE.name}\n".encode())

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [(Mode.DRAIN, "up drain\n"), (Mode.MAINTENANCE, "up maint\n")],
    )
    async def test_out_of_service(self, stand: Stand, mode: Mode, expected: str) -> None:
        """With `up`, or a `down` told before would hold beside it."""
        stand.take_out("cache", mode)

        assert expected == await told(stand)


class TestTheQuestion:
    @pytest.mark.parametrize("sent", [b"", b"\n", b"suite", b" suite \r\n", b"suite\nmore\n"])
    async def test_of_the_whole(self, stand: Stand, sent: bytes) -> None:
        """What was not asked for is the suite; the newline is optional."""
        stand.see(State.UNHEALTHY, ONE, OTHER)
        answer = await told(stand, sent)

        assert answer.startswith("ready down #cache:")

    async def test_in_pieces(self, stand: Stand) -> None:
        """A segment is no line."""
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", stand.agent.port)
            writer.write(b"redi")
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(b"s\n")
            answer = await reader.read()
            writer.close()

        assert b"ready up 100%\n" == answer

    @pytest.mark.hostile
    @pytest.mark.parametrize("sent", [b"x" * 300, b"x" * 100_000 + b"\n", b"\xff\xfe\n"])
    async def test_that_is_none(self, stand: Stand, sent: bytes) -> None:
        """It is hung up on, and the next one is answered."""
        try:
            answer = await told(stand, sent)
        except ConnectionError:
            answer = ""

        assert ("", "ready up 100%\n") == (answer, await told(stand))

    async def test_of_an_unknown_name(self, stand: Stand) -> None:
        """Nothing is said, so HAProxy keeps what it has; the log has it once."""
        with structlog.testing.capture_logs() as logs:
            answers = [await told(stand, b"cahce\n") for _ in range(3)]

        assert ["", "", ""] == answers
        assert ["cahce"] == [
            line["target"] for line in logs if line["event"] == "agent_check_of_unknown_name"
        ]


class TestThisInstance:
    async def test_says_nothing_before_it_knows_anything(self) -> None:
        """A start takes nothing out."""
        async with open_stand(serving=False) as stand:
            before = await told(stand)
            stand.see(State.HEALTHY)
            await stand.serve()
            after = await told(stand)

        assert ("", "ready up 100%\n") == (before, after)

    async def test_takes_back_what_nobody_could_while_it_drains(self, stand: Stand) -> None:
        """HAProxy keeps the last word of an agent that is gone; what people said stays."""
        stand.see(State.UNHEALTHY, ONE)
        stand.take_out("redis", Mode.MAINTENANCE)
        await stand.drain()

        assert ["ready up 100%\n", "up maint\n"] == [
            await told(stand, f"{ONE.name}\n".encode()),
            await told(stand, b"redis\n"),
        ]


class TestConnections:
    @pytest.mark.hostile
    async def test_that_are_silent_keep_nobody_out(
        self, stand: Stand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When there are too many, the oldest is hung up on; those that come are answered."""
        monkeypatch.setattr(agent, "MAX_CONNECTIONS", 5)
        monkeypatch.setattr(stand.agent, "_line_timeout", 30)
        # At once: the server meets them all before the first has had its turn.
        silent = [socket.create_connection(("127.0.0.1", stand.agent.port)) for _ in range(50)]
        answer = await told(stand)
        held = len(stand.agent._connections)
        ends = [await _is_hung_up(each) for each in silent]

        assert ("ready up 100%\n", True) == (answer, held <= 5)
        assert [True] * 45 == ends[:45]

    async def test_hold_up_no_shutdown(self) -> None:
        """Who is connected and silent is hung up on."""
        async with open_stand() as stand:
            stand.agent._line_timeout = 30
            reader, writer = await asyncio.open_connection("127.0.0.1", stand.agent.port)
            async with asyncio.timeout(10):
                while not stand.agent._connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                await stand.close()
                rest = b""
                with suppress(ConnectionError):
                    rest = await reader.read()
            writer.close()

        assert b"" == rest

    async def test_of_a_taken_port(self, stand: Stand) -> None:
        """The setting is named."""
        second = AgentServer(lambda _: None, stand.agent._instance, host="127.0.0.1", port=0)
        second.port = stand.agent.port
        with pytest.raises(ConfigurationError, match="MAINSTAY_HEALTH_AGENT_PORT"):
            await second.start()
