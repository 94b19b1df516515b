"""A connection that belongs to the event loop in which it is first used.

grpcio ties a channel to the loop that is current when it is made. A client is often made while a
module is imported, where none runs yet; a channel made there would never work. Test clients of web
frameworks even run each request in a loop of its own: when its loop is closed, the next one that
uses the connection gets another.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

Options = Sequence[tuple[str, Any]]


class LazyChannel(grpc.aio.Channel):
    """Makes the channel when something is called, or a method is asked for while a loop runs."""

    def __init__(self, target: str, *, options: Options) -> None:
        """Connect to `target` later."""
        self._target = target
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._made: grpc.aio.Channel | None = None
        self._closed = False

    @property
    def channel(self) -> grpc.aio.Channel:
        """Return the channel, which belongs to the loop that ran when it was made."""
        if self._made is None or (self._loop is not None and self._loop.is_closed()):
            self._loop = asyncio.get_running_loop()
            self._made = grpc.aio.insecure_channel(self._target, options=self._options)
            self._closed = False
        return self._made

    def ready(self) -> grpc.aio.Channel:
        """Return the channel for a method; asked for one after its end, grpcio would crash."""
        channel = self.channel
        if self._closed:
            raise grpc.aio.UsageError("the channel is closed")
        return channel

    def _callable(self, kind: str, method: str, how: tuple[Any, ...], named: Any) -> Any:
        def make(channel: grpc.aio.Channel) -> Any:
            return getattr(channel, kind)(method, *how, **named)

        now = _loop_runs() and not self._closed
        return make(self.ready()) if now else _LazyCallable(method, self, make)

    def unary_unary(self, method: str, *how: Any, **named: Any) -> Any:
        """Return what calls `method`."""
        return self._callable("unary_unary", method, how, named)

    def unary_stream(self, method: str, *how: Any, **named: Any) -> Any:
        """Return what calls `method`."""
        return self._callable("unary_stream", method, how, named)

    def stream_unary(self, method: str, *how: Any, **named: Any) -> Any:
        """Return what calls `method`."""
        return self._callable("stream_unary", method, how, named)

    def stream_stream(self, method: str, *how: Any, **named: Any) -> Any:
        """Return what calls `method`."""
        return self._callable("stream_stream", method, how, named)

    async def __aenter__(self) -> Self:
        """Return the channel itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channel."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel; what is called afterwards fails, also if nothing was called before."""
        channel, self._closed = self.channel, True
        await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - grpcio's signature
        """Return whether it is connected."""
        return self.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another."""
        await self.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until it is connected."""
        await self.channel.channel_ready()


class _LazyCallable:
    """Calls one method; what does so is made with the first call over a channel."""

    def __init__(
        self, method: str, lazy: LazyChannel, make: Callable[[grpc.aio.Channel], Any]
    ) -> None:
        self._method = method  # where grpcio keeps the name too
        self._lazy = lazy
        self._make = make
        self._channel: grpc.aio.Channel | None = None
        self._made: Any = None

    def __call__(self, *request: Any, **how: Any) -> Any:
        channel = self._lazy.ready()
        if channel is not self._channel:
            self._made, self._channel = self._make(channel), channel
        return self._made(*request, **how)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
