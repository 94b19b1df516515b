"""Server reflection, so that grpcurl, buf and others need no proto files."""

# Imported for the pool alone: tools look up the types inside an error's details by reflection.
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from shared.identity.scopes import OPERATIONS_READ
from shared.rpc.policy import MethodPolicy

# Both versions have the same messages on the wire; new tools ask for v1, old ones for v1alpha.
SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
METHODS = {
    "ServerReflectionInfo": MethodPolicy(
        admission=False,
        quiet=True,
        default_deadline=60.0,
        max_deadline=600.0,
        scope=OPERATIONS_READ,
    )
}
ERROR_FILES = (status_pb2.DESCRIPTOR.name, error_details_pb2.DESCRIPTOR.name)

add_to_server = reflection_pb2_grpc.add_ServerReflectionServicer_to_server


def make_servicer(services: list[str]) -> ReflectionServicer:
    """Return a servicer that lists `services`."""
    return ReflectionServicer(services)
