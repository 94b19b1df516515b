"""An HTTP server that lives in the service's own event loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from mainstay.errors import ConfigurationError

START_TIMEOUT = 10.0
TICK = 1.0


class _Server(uvicorn.Server):
    """Leaves the signals to the service, which stops this server in its turn."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.closing = asyncio.Event()

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
        self, name: str, app: ASGIApp, host: str, port: int, *, setting: str = "the setting"
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
            timeout_keep_alive=75,
            limit_concurrency=500,
            timeout_graceful_shutdown=5,
            ws="none",
        )
        self._server = _Server(config)
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
        except SystemExit as error:
            # uvicorn logs why and exits when it cannot bind; only this server should end.
            raise ConfigurationError(
                f"cannot listen on {self._host}:{self.port} for {self.name}, which is in use or "
                f"not ours; free it or set {self._setting}"
            ) from error

    async def close(self) -> None:
        """Stop listening and let requests in flight end."""
        self._server.closing.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
