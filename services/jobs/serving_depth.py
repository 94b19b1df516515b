"""How deep the queues are, for monitoring: format what was measured last."""

from mainstay.errors import AuthorizationError, UnavailableError
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.gauges import RETRY, QueueGauges
from services.jobs.wire_times import duration, timestamp
from shared.rpc.call import ALL_TENANTS, current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    # Asked by every health service every few seconds, and above all when there is too much to do.
    "GetDepth": MethodPolicy(
        default_deadline=1.0, admission=False, wildcard_tenant=True, quiet=True
    ),
}


class DepthMethods:
    """The method of those who watch over all queues."""

    gauges: QueueGauges

    async def GetDepth(self, request: pb.GetDepthRequest, context: object) -> pb.GetDepthResponse:
        _for_all_tenants()
        measured = self.gauges.measured
        if measured is None:
            raise UnavailableError(
                "the queues have not been measured since this replica started; it tries every "
                f"{RETRY:g} s",
                reason="DEPTH_NOT_MEASURED",
                retry_after=RETRY,
            )
        depth = measured.depth
        return pb.GetDepthResponse(
            ready=depth.ready,
            delayed=depth.delayed,
            running=depth.running,
            dead_letters=depth.dead_letters,
            oldest_age=duration(depth.oldest),
            workers=depth.workers,
            measure_time=timestamp(measured.time),
            age=duration(self.gauges.age(measured)),
        )


def _for_all_tenants() -> None:
    if current_call().tenant != ALL_TENANTS:
        raise AuthorizationError(
            "the depth is that of all tenants together; ask in the name of the tenant '*', or "
            "ListQueues for your own",
            reason="ALL_TENANTS_REQUIRED",
        )
