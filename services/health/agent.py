"""HAProxy's agent check: one TCP connection, one line of advice.

HAProxy acts on the words it gets and keeps what it was told until it is told something else. So
each answer says all of it: `ready` ends a drain or a maintenance that an earlier answer began, `up`
ends a `down`. An agent that is gone is no fault to HAProxy, and its last word stands: an instance
that drains takes back its `down`s, so that nothing stays out because nobody is left to bring it
back. What an operator took out stays out.

==============================  =========================================
a name that is                  is answered with
==============================  =========================================
healthy                         `ready up 100%`
degraded, or open               `ready up 50%`
unhealthy or unknown            `ready down #why`; draining: `ready up 100%`
in maintenance, mode drain      `up drain`
in maintenance                  `up maint`
unknown to us                   nothing
==============================  =========================================
"""

import asyncio
from collections.abc import Callable
from typing import assert_never

import structlog

from mainstay.errors import ConfigurationError
from services.health.instance import Instance, Phase
from services.health.target import SUITE
from services.health.verdict import Advice, Verdict

MAX_CONNECTIONS = 200
MAX_LINE = 256
"""Longest name that may be asked for, in bytes."""

LINE_TIMEOUT = 0.5
"""How long to wait for a name, in seconds; HAProxy gives up after its `agent-inter`, 2 s as a rule.

Long enough for a segment that was lost and is sent again: an answer about something else would be
worse than a late one."""

WRITE_TIMEOUT = 1.0
MAX_REMEMBERED = 100
_MAX_REASON = 150
DEGRADED_WEIGHT = 50
"""Percent of the weight that HAProxy's configuration gives a server."""

log = structlog.get_logger()


def advice(verdict: Verdict, *, leaving: bool) -> str:
    """Return the line for a verdict; `leaving` says that it may be the last for long."""
    match verdict.advice:
        case Advice.UP:
            return f"ready up {DEGRADED_WEIGHT if verdict.degraded else 100}%"
        case Advice.DOWN if leaving:
            return "ready up 100%"
        case Advice.DOWN:
            return f"ready down #{_one_line(verdict.message)}"
        case Advice.DRAIN:
            return "up drain"
        case Advice.MAINTENANCE:
            return "up maint"
    assert_never(verdict.advice)


class AgentServer:
    """A resource: listens between `start` and `close`."""

    name = "agent"

    def __init__(
        self,
        verdict: Callable[[str], Verdict | None],
        instance: Instance,
        *,
        host: str,
        port: int,
        line_timeout: float = LINE_TIMEOUT,
    ) -> None:
        self._verdict = verdict
        self._instance = instance
        self._host = host
        self.port = port
        self._line_timeout = line_timeout
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.WriteTransport] = {}
        self._logged: set[str] = set()

    async def start(self) -> None:
        """Listen; with port 0 the one that was picked is in `port` afterwards."""
        try:
            self._server = await asyncio.start_server(
                self._accept, self._host, self.port, limit=MAX_LINE
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {self._host}:{self.port} for HAProxy's agent checks, which is "
                "in use or not ours; free it or set MAINSTAY_HEALTH_AGENT_PORT"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is None:
            return
        self._server.close()
        ending = list(self._connections)
        for task in ending:
            self._end(task)
        await asyncio.gather(*ending, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            self._end(next(iter(self._connections)))  # the oldest; whoever comes is answered
        task = asyncio.create_task(self._serve(reader, writer), name="agent check")
        self._connections[task] = writer.transport
        task.add_done_callback(lambda ended: self._connections.pop(ended, None))

    def _end(self, task: asyncio.Task[None]) -> None:
        """Hang up, also on one whose task has not begun and would not do it."""
        self._connections.pop(task).abort()
        task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = self._answer(await self._read_name(reader))
            if line:
                writer.write(f"{line}\n".encode("ascii", "replace"))
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await writer.drain()
            writer.close()
        except (OSError, TimeoutError, ValueError):
            # It left, reads nothing, or sent what is no name; HAProxy asks again.
            writer.transport.abort()

    async def _read_name(self, reader: asyncio.StreamReader) -> str:
        """Return the name that was asked for: `agent-send` is optional, and so is its newline."""
        sent = b""
        try:
            async with asyncio.timeout(self._line_timeout):
                while b"\n" not in sent and len(sent) <= MAX_LINE:
                    if not (chunk := await reader.read(MAX_LINE)):
                        break
                    sent += chunk
        except TimeoutError:
            pass  # what came is all there is
        if len(sent) > MAX_LINE:
            raise ValueError("a line too long for a name")
        return sent.partition(b"\n")[0].decode().strip() or SUITE

    def _answer(self, name: str) -> str:
        """Return the line for a name; nothing when there is nothing to say."""
        phase = self._instance.phase
        if phase is Phase.STARTING:
            return ""  # nothing is known yet: what HAProxy was told before is better
        verdict = self._verdict(name)
        if verdict is None:
            self._log_unknown(name)
            return ""
        return advice(verdict, leaving=phase is Phase.DRAINING)

    def _log_unknown(self, name: str) -> None:
        """Tell once; HAProxy asks every other second."""
        if name not in self._logged and len(self._logged) < MAX_REMEMBERED:
            self._logged.add(name)
            log.warning("agent_check_of_unknown_name", target=name)


def _one_line(message: str) -> str:
    """Return a message that cannot end the line, nor be read as another word."""
    return " ".join(message.split())[:_MAX_REASON]
