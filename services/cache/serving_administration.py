"""InspectEntry, ListClasses and GetStats: parse, call, format."""

from mainstay.cache.v1 import cache_service_pb2 as pb
from services.cache.entry import Kind
from services.cache.formatting import (
    duration,
    duration_or_unset,
    entry_message,
    miss_reason,
)
from services.cache.inspection import DEFAULT_WINDOW_MS, Administration, Inspection, Report, State
from services.cache.parsing import milliseconds
from services.cache.policy import TtlClass
from services.cache.statistics import Tally
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "InspectEntry": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "ListClasses": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "GetStats": MethodPolicy(default_deadline=5.0, max_deadline=10.0),
}

_STATES = {
    State.FRESH: pb.ENTRY_STATE_FRESH,
    State.STALE: pb.ENTRY_STATE_STALE,
    State.NEGATIVE: pb.ENTRY_STATE_NEGATIVE,
    State.ABSENT: pb.ENTRY_STATE_ABSENT,
}
_KINDS = {
    Kind.VALUE: pb.ENTRY_KIND_VALUE,
    Kind.NEGATIVE: pb.ENTRY_KIND_NEGATIVE,
    Kind.COUNTER: pb.ENTRY_KIND_COUNTER,
    Kind.LIST: pb.ENTRY_KIND_LIST,
    Kind.SET: pb.ENTRY_KIND_SET,
    Kind.TOMBSTONE: pb.ENTRY_KIND_UNSPECIFIED,
}


class AdministrationMethods:
    """The methods for people."""

    administration: Administration

    async def InspectEntry(
        self, request: pb.InspectEntryRequest, context: object
    ) -> pb.InspectEntryResponse:
        tenant = current_call().tenant
        inspection = await self.administration.inspect(tenant, request.namespace, request.key)
        return _inspected(inspection)

    async def ListClasses(
        self, request: pb.ListClassesRequest, context: object
    ) -> pb.ListClassesResponse:
        in_force = self.administration.classes()
        policy = in_force.policy
        return pb.ListClassesResponse(
            classes=map(_class, policy.classes.values()),
            default_class=policy.default.name,
            event_types=sorted(policy.events),
            policy_error=in_force.problem,
        )

    async def GetStats(self, request: pb.GetStatsRequest, context: object) -> pb.GetStatsResponse:
        report = await self.administration.stats(
            current_call().tenant,
            namespace=request.namespace,
            ttl_class=request.ttl_class,
            window_ms=(
                milliseconds(request.window) if request.HasField("window") else DEFAULT_WINDOW_MS
            ),
        )
        return _reported(report)


def _inspected(inspection: Inspection) -> pb.InspectEntryResponse:
    message = pb.InspectEntryResponse(
        state=_STATES[inspection.state],
        age=duration(inspection.age_ms),
        value_bytes=inspection.value_bytes,
        lease_remaining=duration_or_unset(inspection.lease_left_ms),
        computation_error=inspection.throttled,
    )
    if inspection.miss_reason is not None:
        message.miss_reason = miss_reason(inspection.miss_reason)
    entry = inspection.entry
    if entry is not None:
        message.entry.CopyFrom(entry_message(entry, None))
        message.kind = _KINDS[entry.kind]
        message.compute_duration.CopyFrom(duration(entry.compute_ms))
        if entry.last_miss is not None:
            message.last_miss_reason = miss_reason(entry.last_miss)
    return message


def _class(ttl_class: TtlClass) -> pb.TtlClass:
    return pb.TtlClass(
        name=ttl_class.name,
        ttl=duration_or_unset(ttl_class.ttl_ms),
        soft_ttl=duration_or_unset(ttl_class.soft_ttl_ms),
        negative_ttl=duration(ttl_class.negative_ttl_ms),
        jitter=ttl_class.jitter,
        early_refresh=ttl_class.early_refresh,
        near_max_age=duration_or_unset(ttl_class.near_max_age_ms),
        max_bytes=ttl_class.max_bytes or 0,
    )


def _reported(report: Report) -> pb.GetStatsResponse:
    return pb.GetStatsResponse(
        total=_stats(report.total),
        groups=(
            pb.StatsGroup(namespace=group.namespace, ttl_class=group.ttl_class, stats=_stats(tally))
            for group, tally in report.groups
        ),
        target_hit_rate=report.target_hit_rate,
        quotas=(
            pb.QuotaUsage(quota=use.quota, used=use.used, limit=use.limit or 0)
            for use in report.quotas
        ),
    )


def _stats(tally: Tally) -> pb.Stats:
    by_count = sorted(tally.misses.items(), key=lambda item: -item[1])
    return pb.Stats(
        hits=tally.hits,
        stale_hits=tally.stale_hits,
        misses=tally.missed,
        miss_counts=(
            pb.MissCount(reason=miss_reason(reason), count=count) for reason, count in by_count
        ),
        hit_rate=tally.hit_rate,
        computations=tally.computations,
        computations_saved=tally.computations_saved,
        time_saved=duration(tally.saved_ms),
        fills_refused=tally.fills_refused,
    )
