"""The one pipeline around every method of every service.

Down: request id, trace context, caller, deadline, tenant, scope, admission. Up: error boundary,
span, metrics and one log line. Handlers are registered for raw bytes, so that a message that does
not parse gets a named error too, and no chain of interceptors is built per call.

A unary call whose message does not come is left to grpcio, which starts no handler for it: it holds
no slot and ends with its deadline or its connection. Reading the message here instead, as is done
for server streams, costs a fifth of a cache hit.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message

from mainstay.errors import UnavailableError, UnimplementedError
from shared.identity.scopes import ADMINISTRATION, OPEN
from shared.rpc.admission import Admission
from shared.rpc.exchange import Context, Exchange
from shared.rpc.field_bounds import FieldBounds
from shared.rpc.gate import Audit, Gate, scope_of
from shared.rpc.method import Method
from shared.rpc.policy import MethodPolicy
from shared.telemetry import metrics
from shared.telemetry.call_lines import CallStore, MethodLines

Behaviour = Callable[..., Any]
UNKNOWN_METHOD = "unknown"
_MAX_NAME = 120
RECHECK_INTERVAL = 2.0
"""Seconds between two looks whether the callers of streams and long polls may still call."""


class Pipeline:
    """Wraps the handlers of generated servicers."""

    def __init__(
        self,
        *,
        admission: Admission,
        gate: Gate,
        traced: bool,
        calls: CallStore | None = None,
        audit: Audit | None = None,
    ) -> None:
        self._admission = admission
        self._gate = gate
        self._audit = audit
        self._lasting: set[Exchange] = set()
        self._traced = traced
        self._calls = calls

    def wrap(
        self, service: str, handlers: Mapping[str, Any], policies: Mapping[str, MethodPolicy]
    ) -> dict[str, Any]:
        """Return the handlers of `service` with the pipeline around each.

        Every method must have a policy and every policy a method: a mistake is found at start.
        """
        if set(handlers) != set(policies):
            odd = ", ".join(sorted(set(handlers) ^ set(policies)))
            raise ValueError(f"{service}: methods and policies differ in {odd}")
        return {
            name: self._wrap_one(f"{service}/{name}", handler, policies[name])
            for name, handler in handlers.items()
        }

    def _wrap_one(self, name: str, handler: Any, policy: MethodPolicy) -> Any:
        streaming = handler.request_streaming or handler.response_streaming
        scope = scope_of(name, policy)
        keep = self._calls.of(name, quiet=policy.quiet) if self._calls is not None else None
        method = Method(
            name=name,
            policy=policy,
            scope=scope,
            lasting=streaming or policy.waits,
            parse=handler.request_deserializer,
            bounds=FieldBounds(policy.roomy),
            traced=self._traced and not policy.quiet,
            tally=metrics.calls.of(name),
            lines=MethodLines(name, quiet=policy.quiet, keep=keep),
            audit=self._audit if scope in ADMINISTRATION else None,
        )
        match handler.request_streaming, handler.response_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary))
            case False, True:
                return grpc.stream_stream_rpc_method_handler(
                    self._server_stream(method, handler.unary_stream)
                )
            case True, True:
                return grpc.stream_stream_rpc_method_handler(
                    self._bidi_stream(method, handler.stream_stream)
                )
            case _:
                raise ValueError(
                    f"{name}: streams requests alone, which no pipeline is written for"
                )

    def _unary(self, method: Method, behaviour: Behaviour) -> Behaviour:
        gate, admission, lasting = self._gate, self._admission, self._lasting

        async def handle(raw: bytes, context: Context) -> bytes:
            exchange = Exchange(method, gate, admission, context)
            try:
                if not exchange.recognize():
                    await exchange.identify()
                exchange.open_unary()
                if method.lasting:
                    lasting.add(exchange)
                request = exchange.parse(raw)
                if exchange.limit is None:  # as a rule, and a context manager is not free
                    response = await behaviour(request, None)
                else:
                    async with exchange.limited():
                        response = await behaviour(request, None)
                reply: bytes = response.SerializeToString()
            except BaseException as error:  # noqa: BLE001 - the boundary; fail() always raises
                await exchange.fail(error)
            else:
                exchange.record.succeed()
                return reply
            finally:
                lasting.discard(exchange)
                exchange.close()

        return handle

    def _server_stream(self, method: Method, behaviour: Behaviour) -> Behaviour:
        async def handle(_requests: object, context: Context) -> None:
            exchange = Exchange(method, self._gate, self._admission, context)
            await self._stream(
                exchange, exchange.read_first, lambda raw: behaviour(exchange.parse(raw), None)
            )

        return handle

    def _bidi_stream(self, method: Method, behaviour: Behaviour) -> Behaviour:
        async def handle(raw_requests: AsyncIterator[bytes], context: Context) -> None:
            exchange = Exchange(method, self._gate, self._admission, context)

            async def parsed() -> AsyncIterator[Message]:
                async for request in raw_requests:
                    yield exchange.parse(request)

            await self._stream(exchange, _nothing_first, lambda _: behaviour(parsed(), None))

        return handle

    async def _stream(
        self,
        exchange: Exchange,
        read: Callable[[], Awaitable[bytes]],
        start: Callable[[bytes], Any],
    ) -> None:
        """Write what the method yields; its generator is closed here, in the call's own task."""
        try:
            if not exchange.recognize():
                await exchange.identify()
            raw = await read()
            await exchange.open_stream()
            self._lasting.add(exchange)
            async with exchange.limited(), aclosing(start(raw)) as responses:
                async for response in responses:
                    await exchange.write(response)
        except BaseException as error:  # noqa: BLE001 - the boundary; fail() always raises
            await exchange.fail(error)
        else:
            exchange.record.succeed()
        finally:
            self._lasting.discard(exchange)
            exchange.close()

    async def recheck(self) -> None:
        """End the calls that last of callers who may call no longer; for a background task."""
        while True:
            await asyncio.sleep(RECHECK_INTERVAL)
            unknown = [each for each in tuple(self._lasting) if not each.recheck()]
            # At once: one by one they would wait for each other's looks.
            await asyncio.gather(*(each.recheck_slowly() for each in unknown))


async def _nothing_first() -> bytes:
    """Leave all messages of a stream to the method."""
    return b""


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers calls of methods that do not exist, with the same care as those that do.

    UNIMPLEMENTED says more than it seems: AWS's ALB calls a method that nobody has and by default
    takes that code for health. So it is the answer only while `serving`.
    """

    def __init__(self, pipeline: Pipeline, serving: Callable[[], bool]) -> None:
        self._pipeline = pipeline
        self._serving = serving

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return a handler that fails for whatever kind of call it is."""
        method = details.method[:_MAX_NAME]

        def refuse(_requests: object, _context: object) -> AsyncIterator[Any]:
            if not self._serving():
                raise UnavailableError(
                    f"this instance is starting or draining; {method} does not exist here either",
                    reason="NOT_SERVING",
                )
            raise UnimplementedError(
                f"{method} does not exist here; list what does with reflection"
            )

        handler: Any = grpc.stream_stream_rpc_method_handler(refuse, request_deserializer=bytes)
        policy = MethodPolicy(admission=False, scope=OPEN)
        return self._pipeline.wrap("", {UNKNOWN_METHOD: handler}, {UNKNOWN_METHOD: policy})[
            UNKNOWN_METHOD
        ]
