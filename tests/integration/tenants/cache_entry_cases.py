"""The cache: entries under the same namespace and key are other entries for another tenant."""

from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.duration_pb2 import Duration

from mainstay.cache.v1 import cache_service_pb2 as pb
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import OF_A_TOKEN, Case, Entry, Thing, asks

SERVICE = "mainstay.cache.v1.CacheService"
NAMESPACE = "isolation"
MINUTE = Duration(seconds=60)
HOUR = Duration(seconds=3600)
MINE = b"written by another"


def method(name: str) -> str:
    return f"{SERVICE}.{name}"


async def an_entry(owner: Caller, thing: Thing) -> Thing:
    """Make an entry with a tag."""
    request = pb.SetRequest(
        namespace=NAMESPACE,
        key=thing.name,
        value=thing.secret.encode(),
        ttl=MINUTE,
        tags=[thing.name],
    )
    await owner.ask(method("Set"), request)
    return thing


async def entry(owner: Caller, thing: Thing) -> object:
    """Return what its owner reads of it."""
    answer = await owner.ask(method("Get"), pb.GetRequest(namespace=NAMESPACE, key=thing.name))
    hit = answer.hit
    return (hit.value, hit.version, hit.expire_time.ToNanoseconds(), [*hit.tags])


def shows_value(answer: pb.GetResponse, thing: Thing) -> bool:
    return bool(answer.hit.value == thing.secret.encode())


def has_value(answer: pb.BatchGetResponse, thing: Thing) -> bool:
    return any(result.hit.value == thing.secret.encode() for result in answer.results)


def existed(answer: pb.DeleteResponse | pb.TouchResponse, _: Thing) -> bool:
    return answer.existed


async def a_leased_entry(owner: Caller, thing: Thing) -> Thing:
    """Be the one who computes an entry."""
    request = pb.GetOrLeaseRequest(namespace=NAMESPACE, key=thing.name, lease_duration=MINUTE)
    answer = await owner.ask(method("GetOrLease"), request)
    return replace(thing, id=answer.lease.token)


async def lease(owner: Caller, thing: Thing) -> object:
    """Return whether somebody holds the lease, and what the entry is."""
    request = pb.InspectEntryRequest(namespace=NAMESPACE, key=thing.name)
    answer = await owner.ask(method("InspectEntry"), request)
    return (answer.state, answer.HasField("lease_remaining"))


def fill(thing: Thing) -> pb.FillRequest:
    return pb.FillRequest(
        namespace=NAMESPACE,
        key=thing.name,
        lease_token=thing.id,
        value=pb.FilledValue(value=MINE),
        ttl=MINUTE,
    )


def stored(answer: pb.FillResponse, _: Thing) -> bool:
    return answer.outcome == pb.FILL_OUTCOME_STORED


def held(answer: pb.ExtendResponse | pb.AbandonResponse, _: Thing) -> bool:
    return answer.held


CASES: Mapping[str, Entry] = {
    "Get": Case(
        make=an_entry,
        reach=asks(method("Get"), lambda t: pb.GetRequest(namespace=NAMESPACE, key=t.name)),
        shows=shows_value,
        state=entry,
    ),
    "Set": Case(
        make=an_entry,
        reach=asks(
            method("Set"),
            lambda t: pb.SetRequest(namespace=NAMESPACE, key=t.name, value=MINE, ttl=HOUR),
        ),
        state=entry,
        changes=True,
    ),
    "Delete": Case(
        make=an_entry,
        reach=asks(method("Delete"), lambda t: pb.DeleteRequest(namespace=NAMESPACE, key=t.name)),
        shows=existed,
        state=entry,
        changes=True,
    ),
    "Touch": Case(
        make=an_entry,
        reach=asks(
            method("Touch"), lambda t: pb.TouchRequest(namespace=NAMESPACE, key=t.name, ttl=HOUR)
        ),
        shows=existed,
        state=entry,
        changes=True,
    ),
    "BatchGet": Case(
        make=an_entry,
        reach=asks(
            method("BatchGet"), lambda t: pb.BatchGetRequest(namespace=NAMESPACE, keys=[t.name])
        ),
        shows=has_value,
        state=entry,
    ),
    "BatchSet": Case(
        make=an_entry,
        reach=asks(
            method("BatchSet"),
            lambda t: pb.BatchSetRequest(
                namespace=NAMESPACE, items=[pb.BatchSetItem(key=t.name, value=MINE, ttl=HOUR)]
            ),
        ),
        state=entry,
        changes=True,
    ),
    "BatchDelete": Case(
        make=an_entry,
        reach=asks(
            method("BatchDelete"),
            lambda t: pb.BatchDeleteRequest(namespace=NAMESPACE, keys=[t.name]),
        ),
        shows=lambda answer, _: any(result.existed for result in answer.results),
        state=entry,
        changes=True,
    ),
    "BatchTouch": Case(
        make=an_entry,
        reach=asks(
            method("BatchTouch"),
            lambda t: pb.BatchTouchRequest(namespace=NAMESPACE, keys=[t.name], ttl=HOUR),
        ),
        shows=lambda answer, _: any(result.touched.existed for result in answer.results),
        state=entry,
        changes=True,
    ),
    "GetOrLease": Case(
        make=an_entry,
        reach=asks(
            method("GetOrLease"),
            lambda t: pb.GetOrLeaseRequest(namespace=NAMESPACE, key=t.name, wait=Duration()),
        ),
        shows=lambda answer, t: answer.hit.value == t.secret.encode(),
        state=entry,
    ),
    "Fill": Case(
        make=a_leased_entry,
        reach=asks(method("Fill"), fill),
        shows=stored,
        refused=True,
        refusals=OF_A_TOKEN,
        state=lease,
        changes=True,
    ),
    "Extend": Case(
        make=a_leased_entry,
        reach=asks(
            method("Extend"),
            lambda t: pb.ExtendRequest(
                namespace=NAMESPACE, key=t.name, lease_token=t.id, lease_duration=MINUTE
            ),
        ),
        shows=held,
        refused=True,
        refusals=OF_A_TOKEN,
        state=lease,
    ),
    "Abandon": Case(
        make=a_leased_entry,
        reach=asks(
            method("Abandon"),
            lambda t: pb.AbandonRequest(namespace=NAMESPACE, key=t.name, lease_token=t.id),
        ),
        shows=held,
        refused=True,
        refusals=OF_A_TOKEN,
        state=lease,
        changes=True,
    ),
    "InspectEntry": Case(
        make=an_entry,
        reach=asks(
            method("InspectEntry"),
            lambda t: pb.InspectEntryRequest(namespace=NAMESPACE, key=t.name),
        ),
        shows=lambda answer, _: answer.state != pb.ENTRY_STATE_ABSENT,
        state=entry,
    ),
}
