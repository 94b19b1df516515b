"""Every method that our protos declare, found in their descriptors."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mainstay.cache.v1 import cache_service_pb2
from mainstay.envoy.ratelimit.v3 import rls_pb2
from mainstay.health.v1 import health_service_pb2
from mainstay.jobs.v1 import job_service_pb2, worker_service_pb2
from mainstay.ratelimit.v1 import ratelimit_service_pb2

FILES = {
    "cache": (cache_service_pb2,),
    "ratelimit": (ratelimit_service_pb2, rls_pb2),
    "jobs": (job_service_pb2, worker_service_pb2),
    "health": (health_service_pb2,),
}
SERVERS = tuple(FILES)
WELL_KNOWN = "google.protobuf."


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """One method, as its descriptor has it."""

    server: str
    descriptor: MethodDescriptor

    @property
    def name(self) -> str:
        """Return `Service/Method`, without the package."""
        return f"{self.descriptor.containing_service.name}/{self.descriptor.name}"

    @property
    def path(self) -> str:
        """Return what a call names."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def request(self) -> type[Message]:
        """Return the class of its requests."""
        return GetMessageClass(self.descriptor.input_type)

    @property
    def streams(self) -> bool:
        """Return whether messages go to and fro for as long as both like."""
        return self.descriptor.server_streaming


def methods(server: str) -> list[Contract]:
    """Return all methods that a server has to serve."""
    return [
        Contract(server=server, descriptor=method)
        for file in FILES[server]
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


def is_map(field: FieldDescriptor) -> bool:
    """Return whether it is a map, which protobuf has as repeated entries."""
    kind = field.message_type
    return kind is not None and bool(kind.GetOptions().map_entry)


def is_ours(field: FieldDescriptor) -> bool:
    """Return whether it holds a message that our protos, or Envoy's, declare."""
    kind = field.message_type
    return kind is not None and not is_map(field) and not kind.full_name.startswith(WELL_KNOWN)


Path = tuple[FieldDescriptor, ...]


def paths(contract: Contract) -> Iterator[Path]:
    """Yield the way to every field that a request may have, through the messages within it."""
    yield from _below(contract, ())


def _below(contract: Contract, path: Path) -> Iterator[Path]:
    kind = path[-1].message_type if path else contract.descriptor.input_type
    assert kind is not None
    for field in kind.fields:
        yield (*path, field)
        if is_ours(field) and field.message_type not in {each.message_type for each in path}:
            yield from _below(contract, (*path, field))


def dotted(path: Path) -> str:
    """Return a path as errors and exceptions have it."""
    return ".".join(field.name for field in path)
