"""A connection that belongs to the event loop in which it is first used.

grpcio ties a channel to the loop that is current when it is made. A client is often made while a
module is imported, where none runs yet; a channel made there would never work. Test clients of web
frameworks even run each request in a loop of its own: when its loop is closed, the next one that
uses the connection gets another. So does the call that comes after the certificates for it have
changed; then the connection before is closed when the last call over it has ended.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from mainstay.connector import Connector


class LazyChannel(grpc.aio.Channel):
    """Makes the channel when something is called, or a method is asked for while a loop runs."""

    def __init__(self, connector: Connector) -> None:
        """Connect later, as `connector` does."""
        self._connector = connector
        self._loop: asyncio.AbstractEventLoop | None = None
        self._made: grpc.aio.Channel | None = None
        self._closed = False
        # Of channels that may be outdated, how many calls are under way.
        self._calls: dict[grpc.aio.Channel, int] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def channel(self) -> grpc.aio.Channel:
        """Return the channel, which belongs to the loop that ran when it was made."""
        if self._made is None or (self._loop is not None and self._loop.is_closed()):
            self._loop = asyncio.get_running_loop()
            self._calls.clear()
            self._closing.clear()
            self._made = self._connector.open()
            self._closed = False
        elif not self._closed and self._connector.newer_files():
            before, self._made = self._made, self._connector.open()
            self._close_unless_in_use(before)
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

        now = _loop_runs() and not self._closed and not self._connector.follows_files
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
        outdated = [each for each in self._calls if each is not channel]
        await asyncio.gather(
            channel.close(grace), *(each.close(grace) for each in outdated), *self._closing
        )

    def track(self, channel: grpc.aio.Channel, call: grpc.aio.Call) -> None:
        """Keep a channel open until a call over it has ended, also when it is outdated."""
        if not self._connector.follows_files:
            return
        self._calls[channel] = self._calls.get(channel, 0) + 1

        def ended(_: object) -> None:
            self._calls[channel] = self._calls.get(channel, 1) - 1
            self._close_unless_in_use(channel)

        call.add_done_callback(ended)

    def _close_unless_in_use(self, channel: grpc.aio.Channel) -> None:
        if self._calls.get(channel, 0) > 0:
            return
        self._calls.pop(channel, None)
        if channel is not self._made and not self._closed:
            task = asyncio.ensure_future(channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

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
        call = self._made(*request, **how)
        self._lazy.track(channel, call)
        return call


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
