"""The cache: counters, lists and sets."""

from collections.abc import Mapping

from mainstay.cache.v1 import cache_service_pb2 as pb
from tests.integration.tenants.cache_entry_cases import MINE, MINUTE, NAMESPACE, method
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import Case, Entry, Thing, asks


async def a_counter(owner: Caller, thing: Thing) -> Thing:
    request = pb.IncrementRequest(namespace=NAMESPACE, key=thing.name, delta=7, ttl=MINUTE)
    await owner.ask(method("Increment"), request)
    return thing


async def counter(owner: Caller, thing: Thing) -> object:
    request = pb.IncrementRequest(namespace=NAMESPACE, key=thing.name, delta=0, ttl=MINUTE)
    return (await owner.ask(method("Increment"), request)).value


async def a_list(owner: Caller, thing: Thing) -> Thing:
    request = pb.PushToListRequest(
        namespace=NAMESPACE, key=thing.name, items=[thing.secret.encode(), b"second"], ttl=MINUTE
    )
    await owner.ask(method("PushToList"), request)
    return thing


async def items(owner: Caller, thing: Thing) -> object:
    request = pb.ReadListRequest(namespace=NAMESPACE, key=thing.name, count=10)
    return [*(await owner.ask(method("ReadList"), request)).items]


async def a_set(owner: Caller, thing: Thing) -> Thing:
    request = pb.AddToSetRequest(
        namespace=NAMESPACE, key=thing.name, members=[thing.secret.encode()], ttl=MINUTE
    )
    await owner.ask(method("AddToSet"), request)
    return thing


async def members(owner: Caller, thing: Thing) -> object:
    request = pb.ListSetMembersRequest(namespace=NAMESPACE, key=thing.name)
    return sorted((await owner.ask(method("ListSetMembers"), request)).members)


def was_there(answer: pb.PushToListResponse | pb.AddToSetResponse, _: Thing) -> bool:
    return not answer.created


CASES: Mapping[str, Entry] = {
    "Increment": Case(
        make=a_counter,
        reach=asks(
            method("Increment"),
            lambda t: pb.IncrementRequest(namespace=NAMESPACE, key=t.name, delta=1, ttl=MINUTE),
        ),
        shows=lambda answer, _: not answer.created or answer.value > 1,
        state=counter,
        changes=True,
    ),
    "PushToList": Case(
        make=a_list,
        reach=asks(
            method("PushToList"),
            lambda t: pb.PushToListRequest(
                namespace=NAMESPACE, key=t.name, items=[MINE], ttl=MINUTE
            ),
        ),
        shows=was_there,
        state=items,
        changes=True,
    ),
    "ReadList": Case(
        make=a_list,
        reach=asks(
            method("ReadList"),
            lambda t: pb.ReadListRequest(namespace=NAMESPACE, key=t.name, count=10),
        ),
        shows=lambda answer, t: t.secret.encode() in answer.items or answer.length > 0,
        state=items,
    ),
    "TrimList": Case(
        make=a_list,
        reach=asks(
            method("TrimList"),
            lambda t: pb.TrimListRequest(namespace=NAMESPACE, key=t.name, count=1),
        ),
        shows=lambda answer, _: answer.length > 0,
        state=items,
        changes=True,
    ),
    "AddToSet": Case(
        make=a_set,
        reach=asks(
            method("AddToSet"),
            lambda t: pb.AddToSetRequest(
                namespace=NAMESPACE, key=t.name, members=[MINE], ttl=MINUTE
            ),
        ),
        shows=was_there,
        state=members,
        changes=True,
    ),
    "RemoveFromSet": Case(
        make=a_set,
        reach=asks(
            method("RemoveFromSet"),
            lambda t: pb.RemoveFromSetRequest(
                namespace=NAMESPACE, key=t.name, members=[t.secret.encode()]
            ),
        ),
        shows=lambda answer, _: answer.removed > 0,
        state=members,
        changes=True,
    ),
    "ListSetMembers": Case(
        make=a_set,
        reach=asks(
            method("ListSetMembers"),
            lambda t: pb.ListSetMembersRequest(namespace=NAMESPACE, key=t.name),
        ),
        shows=lambda answer, _: bool(answer.members) or answer.size > 0,
        state=members,
    ),
    "CheckSetMembers": Case(
        make=a_set,
        reach=asks(
            method("CheckSetMembers"),
            lambda t: pb.CheckSetMembersRequest(
                namespace=NAMESPACE, key=t.name, members=[t.secret.encode()]
            ),
        ),
        shows=lambda answer, _: any(answer.contained),
        state=members,
    ),
}
