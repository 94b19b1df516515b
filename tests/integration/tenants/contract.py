"""Every method that a service of the suite serves, by its full name."""

from collections.abc import Iterator, Mapping

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from mainstay.cache.v1 import cache_service_pb2
from mainstay.envoy.ratelimit.v3 import rls_pb2
from mainstay.grpc_health.v1 import health_pb2
from mainstay.health.v1 import health_service_pb2
from mainstay.jobs.v1 import job_service_pb2, worker_service_pb2
from mainstay.ratelimit.v1 import ratelimit_service_pb2

SERVED = {
    "cache": (cache_service_pb2,),
    "ratelimit": (ratelimit_service_pb2, rls_pb2),
    "jobs": (job_service_pb2, worker_service_pb2),
    "health": (health_service_pb2,),
}
"""What each service of the suite serves; all of them grpc.health.v1 and reflection besides."""


def services_of(name: str) -> Iterator[ServiceDescriptor]:
    """Yield what a service of the suite serves alone."""
    for module in SERVED[name]:
        yield from module.DESCRIPTOR.services_by_name.values()


def _methods() -> Iterator[MethodDescriptor]:
    for name in SERVED:
        for service in services_of(name):
            yield from service.methods
    yield from health_pb2.DESCRIPTOR.services_by_name["Health"].methods


METHODS: Mapping[str, MethodDescriptor] = {method.full_name: method for method in _methods()}
