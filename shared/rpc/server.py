"""The gRPC server of a service: grpcio's aio transport with our pipeline on it."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from mainstay.errors import ConfigurationError
from mainstay.grpc_health.v1 import health_pb2_grpc
from shared.rpc import health, reflection
from shared.rpc.admission import Admission
from shared.rpc.gate import Audit, Gate, OpenGate
from shared.rpc.metadata import MAX_METADATA_BYTES
from shared.rpc.pipeline import Pipeline, UnknownMethods
from shared.rpc.policy import MethodPolicy
from shared.telemetry.call_lines import CallStore
from shared.tls import ServerTls

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_CONNECTIONS = 4_000
"""Connections that one process holds."""

LEAST_WAITING = 128
"""Calls that may wait in the transport, however few may be handled at once."""

MAX_WAIT = 10
"""Longest wait of a call in the transport before it is accepted, in seconds."""

AddToServer = Callable[[Any, Any], None]


class _Leaving(logging.Filter):
    """Drops what grpcio calls errors and callers cause at will: leaving early, odd header bytes."""

    _TEXTS = ("ExecuteBatchError raised in core", "Invalid encoding on")

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(self._TEXTS)


logging.getLogger("grpc._cython.cygrpc").addFilter(_Leaving())


class _Recorder:
    """Takes the handlers that a generated `add_…_to_server` would give to a server."""

    def __init__(self) -> None:
        self.service = ""
        self.handlers: Mapping[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignore them: the registered ones say the same, with names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Keep the handlers of one service."""
        self.service, self.handlers = service, handlers


class RpcServer:
    """Serves the servicers it is given, with health and reflection beside them."""

    def __init__(
        self,
        *,
        max_calls: int,
        max_streams: int,
        traced: bool,
        shared_port: bool = False,
        setting: str = "",
        calls: CallStore | None = None,
        gate: Gate | None = None,
        audit: Audit | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        self.health = health.HealthRegistry()
        self._pipeline = Pipeline(
            admission=Admission(max_calls=max_calls, max_streams=max_streams),
            traced=traced,
            calls=calls,
            gate=gate or OpenGate(),
            audit=audit,
        )
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._server = grpc.aio.server(
            options=_options(shared_port=shared_port, max_calls=max_calls)
        )
        self.port = 0
        self._setting = setting
        self._tls = tls

    def expose(
        self, add_to_server: AddToServer, servicer: object, methods: Mapping[str, MethodPolicy]
    ) -> None:
        """Serve the methods of a servicer; each must have a policy."""
        service = self._register(add_to_server, servicer, methods)
        self.health.add(service)

    def _register(
        self,
        add_to_server: AddToServer,
        servicer: object,
        methods: Mapping[str, MethodPolicy],
        *,
        name: str = "",
    ) -> str:
        recorder = _Recorder()
        add_to_server(servicer, recorder)
        name = name or recorder.service
        wrapped = self._pipeline.wrap(name, recorder.handlers, methods)
        self._handlers.append(grpc.method_handlers_generic_handler(name, wrapped))
        return name

    async def start(self, host: str, port: int) -> None:
        """Listen; `port` 0 picks a free one, found in `port` afterwards."""
        servicer = health.HealthServicer(self.health)
        name = self._register(
            health_pb2_grpc.add_HealthServicer_to_server, servicer, health.METHODS
        )
        listed = [*self.health.services[1:], name]
        reflector = reflection.make_servicer(listed)
        for version in reflection.SERVICES:
            self._register(reflection.add_to_server, reflector, reflection.METHODS, name=version)
        unknown = UnknownMethods(self._pipeline, lambda: self.health.serving)
        self._server.add_generic_rpc_handlers((*self._handlers, unknown))
        address = authority(host, port)
        try:
            self.port = self._listen(address)
        except RuntimeError as error:
            raise ConfigurationError(
                f"cannot listen on {address}, which is in use or not ours; free it or set "
                f"{self._setting}"
            ) from error
        await self._server.start()

    def _listen(self, address: str) -> int:
        if self._tls is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, self._tls.rpc_credentials())

    async def recheck(self) -> None:
        """End the calls that last of callers who may call no longer; for a background task."""
        await self._pipeline.recheck()

    async def stop(self, grace: float) -> None:
        """Refuse new calls, let those in flight end for `grace` seconds, cancel the rest."""
        self.health.close()
        await self._server.stop(grace)


def authority(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _options(*, shared_port: bool, max_calls: int) -> list[tuple[str, Any]]:
    return [
        # Without this a second server on the same port would start and steal half the calls.
        ("grpc.so_reuseport", int(shared_port)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES // 2),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # The default is unlimited: one connection could open streams until memory is gone.
        ("grpc.max_concurrent_streams", 1_000),
        # More are hung up on at once; what they cost is memory and descriptors.
        ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
        # Calls that wait to be accepted: from here on some are turned away, from there on all, with
        # CANCELLED. The transport does it alone, when to shed them here is too much work.
        ("grpc.server.max_pending_requests", max(max_calls, LEAST_WAITING)),
        ("grpc.server.max_pending_requests_hard_limit", 2 * max(max_calls, LEAST_WAITING)),
        # Whoever called has given up by then: dropped before anything is done for it.
        ("grpc.server_max_unrequested_time_in_server", MAX_WAIT),
        # Clients ping every 10 s, also when idle; the default of 300 s cuts them off. Half of it,
        # since two pings may arrive closer than they were sent.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # After half an hour a caller is asked to connect again, and finds replicas that came since;
        # calls and streams under way go on where they are.
        ("grpc.max_connection_age_ms", 1_800_000),
        # A peer that vanished is noticed within half a minute.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # For gRPC's own pings too: while one of them waits, for 60 s by default, no other is sent.
        ("grpc.http2.ping_timeout_ms", 10_000),
    ]
