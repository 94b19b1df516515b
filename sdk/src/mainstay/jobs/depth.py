"""How deep the queues of all tenants are together, as monitoring sees them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mainstay.jobs.calls import Calls
from mainstay.jobs.conversions import utc
from mainstay.jobs.v1 import job_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """The figures of all queues of all tenants, as last measured.

    Attributes:
        ready: Jobs that could start now.
        delayed: Jobs that wait for their time.
        running: Jobs in the hands of workers.
        dead_letters: Jobs that ended badly and wait for somebody.
        oldest_age: How long the ready job that has waited longest had waited; 0 without one.
        workers: Workers connected to any replica.
        measure_time: When it was measured.
        age: How long ago that was, by the clock of the service.

    """

    ready: int
    delayed: int
    running: int
    dead_letters: int
    oldest_age: timedelta
    workers: int
    measure_time: datetime
    age: timedelta


class Depths(Calls):
    """Asks how deep the queues are."""

    async def get_depth(self) -> QueueDepth:
        """Return how deep the queues of all tenants are; for a channel of the tenant `*`.

        It is measured every half minute and answered from memory. Raises AuthorizationError for any
        other tenant, and UnavailableError when nothing has been measured yet.
        """
        found = await self._channel.unary(self._stub.GetDepth, pb.GetDepthRequest(), retry=True)
        return QueueDepth(
            ready=found.ready,
            delayed=found.delayed,
            running=found.running,
            dead_letters=found.dead_letters,
            oldest_age=found.oldest_age.ToTimedelta(),
            workers=found.workers,
            measure_time=utc(found.measure_time),
            age=found.age.ToTimedelta(),
        )
