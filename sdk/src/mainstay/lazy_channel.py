"""A connection that belongs to the event loop in which it is first used.

grpcio ties a channel to the loop that is current when it is made. A client is often made while a
module is imported, where none runs yet; a channel made there would never work.
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
        self._made: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        """Return the channel of the running loop."""
        if self._made is None:
            self._made = grpc.aio.insecure_channel(self._target, options=self._options)
        return self._made

    def _callable(self, kind: str, method: str, how: tuple[Any, ...], named: Any) -> Any:
        def make() -> Any:
            return getattr(self.channel, kind)(method, *how, **named)

        return make() if _loop_runs() else _LazyCallable(method, make)

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
        await self.channel.close(grace)

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
    """Calls one method; what does so is made with the first call."""

    def __init__(self, method: str, make: Callable[[], Any]) -> None:
        self._method = method  # where grpcio keeps the name too
        self._make = make
        self._made: Any = None

    def __call__(self, *request: Any, **how: Any) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made(*request, **how)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
