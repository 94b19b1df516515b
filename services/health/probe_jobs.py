"""Asks the jobs service how long jobs wait, and how many workers there are to do them."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import cycle

import grpc
from google.protobuf.duration_pb2 import Duration

from mainstay.credentials import NO_CREDENTIALS, Credentials
from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc
from services.health.ports import ProbeError
from services.health.probe_connected import ConnectedProbe
from services.health.probe_grpc import failure_of, metadata_of, open_channel
from shared.rpc.call import ALL_TENANTS

TRUSTED = 75.0
"""Seconds for which a measurement stands: two of them may fail, which are taken every 30 s."""

_TENANT = ("x-mainstay-tenant", ALL_TENANTS)


class DepthProbe(ConnectedProbe[grpc.aio.Channel]):
    """Calls GetDepth of one replica, and of the next one when that does not answer.

    Each measures the same queues.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout: float,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        super().__init__()
        self._addresses = cycle(addresses)
        self._timeout = timeout
        self._credentials = credentials

    async def _connect(self) -> grpc.aio.Channel:
        return open_channel(next(self._addresses), self._credentials, timeout=self._timeout)

    async def _question(self, connection: grpc.aio.Channel, request_id: str) -> str:
        stub = pb_grpc.JobServiceStub(connection)
        metadata = (*metadata_of(request_id, self._credentials), _TENANT)
        try:
            depth = await stub.GetDepth(pb.GetDepthRequest(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from error
        if (age := _seconds(depth.age)) > TRUSTED:
            raise ProbeError(f"Was last measured {age:.0f} s ago.")
        return self._judge(depth)

    @abstractmethod
    def _judge(self, depth: pb.GetDepthResponse) -> str:
        """Return what needs care."""

    async def _drop(self, connection: grpc.aio.Channel) -> None:
        await connection.close()


class QueueProbe(DepthProbe):
    """Compares how long the longest waiting job has waited with a bound, in seconds."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout: float,
        max_age: float,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        super().__init__(addresses, timeout=timeout, credentials=credentials)
        self._max_age = max_age

    def _judge(self, depth: pb.GetDepthResponse) -> str:
        oldest = _seconds(depth.oldest_age)
        if oldest <= self._max_age:
            return ""
        return (
            f"A job that could start has waited for {oldest:.0f} s; {self._max_age:g} s are "
            f"allowed. {depth.ready:,} are ready, for {depth.workers:,} workers."
        )


class WorkersProbe(DepthProbe):
    """Compares the number of connected workers with a bound."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout: float,
        least: int,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        super().__init__(addresses, timeout=timeout, credentials=credentials)
        self._least = least

    def _judge(self, depth: pb.GetDepthResponse) -> str:
        if depth.workers >= self._least:
            return ""
        return f"{depth.workers:,} workers are connected; there should be {self._least:,}."


def _seconds(length: Duration) -> float:
    seconds: float = length.ToTimedelta().total_seconds()
    return seconds
