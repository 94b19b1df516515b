"""An HTTP server that lives in the service's own event loop."""

import asyncio
import logging
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mainstay.errors import ConfigurationError
from shared.tls import ServerTls

START_TIMEOUT = 10.0
TICK = 1.0
MAX_CONNECTIONS = 500
HEAD_TIMEOUT = 10.0
"""Longest wait for the head of a request, in seconds."""

HANDSHAKE_TIMEOUT = 5.0
"""Longest wait for TLS to come about, and at the end for the client to agree, in seconds."""

TAKE_TIMEOUT = 30.0
"""Longest wait for a client to take what it was answered, in seconds."""

MAX_UNANSWERED = 64 * 1024
"""Most that is read of a connection between two answers, in bytes; the parser knows no bound."""

MAX_AHEAD = 16
"""Requests that a connection may send ahead of the answers."""

COMPLAINT_PERIOD = 60.0
"""Seconds between two log lines about requests that are none: anybody can cause them."""


class _Rarely(logging.Filter):
    """Lets what uvicorn says of each odd request through once in a while."""

    _TEXTS = ("Invalid HTTP request", "Unsupported upgrade", "No supported WebSocket library")

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if not text.startswith(self._TEXTS):
            return True
        if record.created - self._said.get(text, -math.inf) < COMPLAINT_PERIOD:
            return False
        self._said[text] = record.created
        return True


logging.getLogger("uvicorn.error").addFilter(_Rarely())


class _Connection(HttpToolsProtocol):
    """Lets no connection on which nothing happens keep a new one out, or stay for ever.

    Pollers take a refusal for sickness: when there are too many connections, the one that has been
    quiet for longest goes, and a poller that comes is always answered.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.heard = self.loop.time()
        self._unanswered = 0
        self._answering: RequestResponseCycle | None = None
        self._untaken: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = self._lose_patience_later()
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        self._unanswered += len(data)
        if self._unanswered > MAX_UNANSWERED:
            self.transport.abort()
            return
        super().data_received(data)
        if len(self.pipeline) > MAX_AHEAD:
            self.transport.abort()
        elif not self._has_answered:
            self._stop(self._patience)
            self._patience = None
        elif self._patience is None:
            self._patience = self._lose_patience_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop(self._patience)
        self._stop(self._untaken)
        super().connection_lost(exc)
        # uvicorn tells the request that came last, which waits for this one.
        self.pipeline.clear()
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._untaken = self.loop.call_later(TAKE_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop(self._untaken)
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._unanswered = 0
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def is_quiet(self) -> bool:
        """Whether it is the client's turn: to ask, or to take what it was answered."""
        return self._has_answered or self.flow.write_paused

    @property
    def _has_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _lose_patience_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(HEAD_TIMEOUT, self.timeout_keep_alive_handler)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()

    def _make_room(self) -> None:
        others = (each for each in self.connections if isinstance(each, _Connection))
        quiet = [each for each in others if each is not self and each.is_quiet]
        # Without a quiet one it is this one: all others are being answered.
        goes = min(quiet, key=lambda each: each.heard, default=self)
        goes.transport.abort()
        # It is told later; until then it would be picked again.
        self.connections.discard(goes)


class _Server(uvicorn.Server):
    """Leaves the signals to the service, which stops this server in its turn."""

    def __init__(self, config: uvicorn.Config, tls: ServerTls | None) -> None:
        super().__init__(config)
        self._tls = tls
        self.closing = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; uvicorn's own way waits a minute for handshakes, and exits when it cannot."""
        del sockets
        context = self._tls.http_context() if self._tls else None
        patience = HANDSHAKE_TIMEOUT if context else None
        listening = await asyncio.get_running_loop().create_server(
            self._accept,
            self.config.host,
            self.config.port,
            ssl=context,
            backlog=self.config.backlog,
            ssl_handshake_timeout=patience,
            ssl_shutdown_timeout=patience,
        )
        self.servers = [listening]
        self.started = True

    def _accept(self) -> _Connection:
        state, of_app = self.server_state, self.lifespan.state
        return _Connection(config=self.config, server_state=state, app_state=of_app)

    async def main_loop(self) -> None:
        """Keep the date header fresh until `closing`, instead of polling ten times a second."""
        while not await self.on_tick(0) and not self.closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), TICK)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class HttpServer:
    """A resource: serves an ASGI application between `start` and `close`."""

    def __init__(
        self,
        name: str,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        setting: str = "the setting",
        tls: ServerTls | None = None,
    ) -> None:
        self.name = name
        self._setting = setting
        self._host = host
        self.port = port
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            http=_Connection,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
            ws="none",
        )
        self._server = _Server(config, tls)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; with port 0 the one that was picked is in `port` afterwards."""
        self._task = asyncio.create_task(self._serve(), name=f"http-{self.name}")
        async with asyncio.timeout(START_TIMEOUT):
            while not self._server.started:
                if self._task.done():
                    break
                await asyncio.sleep(0.005)
        if self._task.done():
            self._task.result()
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    async def _serve(self) -> None:
        try:
            await self._server.serve()
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {self._host}:{self.port} for {self.name}, which is in use or "
                f"not ours; free it or set {self._setting}"
            ) from error

    async def close(self) -> None:
        """Stop listening and let requests in flight end."""
        self._server.closing.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
