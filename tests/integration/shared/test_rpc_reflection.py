"""Reflection lists what there is, and a service that is put together wrongly does not start."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb

from mainstay.cache.v1 import cache_service_pb2_grpc as cache_grpc
from shared.config import CommonSettings
from shared.rpc.policy import MethodPolicy
from shared.service import Service
from tests.integration.shared.probe import CACHE_METHODS, Acts, Probe, make_cache_probe

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERSIONS = pytest.mark.parametrize("version", ["v1", "v1alpha"])
ALL = {name: MethodPolicy() for name in CACHE_METHODS}


async def reflect(
    probe: Probe, version: str, request: pb.ServerReflectionRequest
) -> pb.ServerReflectionResponse:
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    call = probe.raw(path, "stream_stream")(iter([request.SerializeToString()]))
    answer: bytes = await anext(aiter(call))
    return pb.ServerReflectionResponse.FromString(answer)


class TestReflection:
    @VERSIONS
    async def test_lists_the_services(self, lasting_probe: Probe, version: str) -> None:
        """Old tools and new ones see ours and health."""
        answer = await reflect(lasting_probe, version, pb.ServerReflectionRequest(list_services=""))

        assert sorted(service.name for service in answer.list_services_response.service) == [
            "grpc.health.v1.Health",
            "mainstay.cache.v1.CacheService",
            "mainstay.jobs.v1.JobService",
            "mainstay.jobs.v1.WorkerService",
        ]

    @VERSIONS
    @pytest.mark.parametrize(
        ("symbol", "file"),
        [
            ("mainstay.jobs.v1.WorkerService", "mainstay/jobs/v1/worker_service.proto"),
            ("google.rpc.ErrorInfo", "google/rpc/error_details.proto"),
            ("google.rpc.Status", "google/rpc/status.proto"),
        ],
    )
    async def test_describes_them_and_the_details_of_errors(
        self, lasting_probe: Probe, version: str, symbol: str, file: str
    ) -> None:
        """A tool can print what a call answers and why it failed, without a proto file."""
        asked = pb.ServerReflectionRequest(file_containing_symbol=symbol)
        answer = await reflect(lasting_probe, version, asked)
        described = answer.file_descriptor_response.file_descriptor_proto

        assert file in {FileDescriptorProto.FromString(raw).name for raw in described}

    @VERSIONS
    async def test_an_unknown_symbol(self, lasting_probe: Probe, version: str) -> None:
        """It is an answer, not the end of the stream."""
        asked = pb.ServerReflectionRequest(file_containing_symbol="no.such.Thing")
        answer = await reflect(lasting_probe, version, asked)

        assert answer.error_response.error_code == 5


class TestPolicies:
    @pytest.mark.parametrize(
        ("policies", "odd"),
        [
            ({name: ALL[name] for name in CACHE_METHODS if name != "BatchGet"}, "BatchGet"),
            (ALL | {"Uninvent": MethodPolicy()}, "Uninvent"),
        ],
        ids=["missing", "surplus"],
    )
    async def test_every_method_has_one(self, policies: dict[str, MethodPolicy], odd: str) -> None:
        """A method without a policy, or a policy without a method, is found at start."""
        service = Service("probe", CommonSettings(), port=0, ops_port=0)
        add = cache_grpc.add_CacheServiceServicer_to_server

        with pytest.raises(ValueError, match=odd):
            service.expose(add, make_cache_probe(Acts()), policies)
