"""No tenant reaches what is another's, whatever it writes into names, by any method there is."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from mainstay import context
from mainstay.cache.client import CacheClient
from mainstay.cache.results import Hit, Miss, MissReason
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.errors import MainstayError, PreconditionError

COLD = Miss(reason=MissReason.COLD)
SECRET = b"acme's secret"
SECOND = Duration(seconds=1)

HOSTILE_KEYS = [
    "k",
    "}",
    "{}",
    "}:lease",
    "}:items",
    "{acme:cache:video:k}",
    "}{acme:cache:video:k",
    "acme:cache:video:k",
    "{acme:cache}:head",
    ":video:k",
    "%7D",
    "%257D",
    "*",
    "../../acme/video/k",
    "[a-z]?\\",
]


class Ours(NamedTuple):
    """What a tenant has, to be looked at and to be laid hands on."""

    key: str
    counter: str
    list: str
    set: str
    computing: str
    token: bytes


class Caller:
    """Calls any method in the name of a tenant."""

    def __init__(self, channel: Channel, tenant: str) -> None:
        self._channel = channel
        self._stub = pb_grpc.CacheServiceStub(channel.raw)
        self._tenant = tenant

    async def __call__(self, method: str, request: Message) -> Any:
        with context.request(tenant=self._tenant):
            return await self._channel.unary(getattr(self._stub, method), request)

    async def first(self, request: pb.WatchInvalidationsRequest) -> Any:
        """Return the first message of a stream."""
        with context.request(tenant=self._tenant):
            stream = self._channel.server_stream(self._stub.WatchInvalidations, request, timeout=10)
        async for message in stream:
            await stream.aclose()
            return message
        raise AssertionError("the stream ended before it began")

    async def prepare(self, key: str) -> Ours:
        """Have one of everything, under names that begin with `key`."""
        ours = Ours(key, f"{key}c", f"{key}l", f"{key}s", f"{key}m", b"")
        for place in (ours.key, f"{key}2"):
            entry = pb.SetRequest(namespace="video", key=place, value=SECRET, tags=["t"])
            await self("Set", entry)
        await self("Increment", pb.IncrementRequest(**_at(ours.counter), delta=7))
        await self("PushToList", pb.PushToListRequest(**_at(ours.list), items=[SECRET]))
        await self("AddToSet", pb.AddToSetRequest(**_at(ours.set), members=[SECRET]))
        leased = await self("GetOrLease", pb.GetOrLeaseRequest(**_at(ours.computing)))
        assert leased.HasField("lease")
        return ours._replace(token=leased.lease.token)

    async def state(self, ours: Ours) -> dict[str, Any]:
        """Return all that another could have changed."""
        found = {
            "value": await self("Get", pb.GetRequest(**_at(ours.key))),
            "counter": await self("Get", pb.GetRequest(**_at(ours.counter))),
            "list": await self("ReadList", pb.ReadListRequest(**_at(ours.list))),
            "set": await self("ListSetMembers", pb.ListSetMembersRequest(**_at(ours.set))),
            "lease": await self("InspectEntry", pb.InspectEntryRequest(**_at(ours.computing))),
        }
        state = {name: MessageToDict(message) for name, message in found.items()}
        assert "leaseRemaining" in state["lease"]
        del state["lease"]["leaseRemaining"]  # it passes
        return state


def _at(key: str) -> dict[str, Any]:
    return {"namespace": "video", "key": key}


Attack = Callable[[Caller, Ours], Awaitable[Message]]


def _attack(method: str, request: Callable[[Ours], Message]) -> Attack:
    async def attack(evil: Caller, ours: Ours) -> Message:
        response: Message = await evil(method, request(ours))
        return response

    return attack


async def _watch(evil: Caller, _: Ours) -> Message:
    response: Message = await evil.first(pb.WatchInvalidationsRequest())
    return response


# Every method, laid hands on what is acme's.
ATTACKS: dict[str, Attack] = {
    "Get": _attack("Get", lambda o: pb.GetRequest(**_at(o.key))),
    "Set": _attack("Set", lambda o: pb.SetRequest(**_at(o.key), value=b"evil's")),
    "Delete": _attack("Delete", lambda o: pb.DeleteRequest(**_at(o.key))),
    "Touch": _attack("Touch", lambda o: pb.TouchRequest(**_at(o.key), ttl=SECOND)),
    "BatchGet": _attack(
        "BatchGet", lambda o: pb.BatchGetRequest(namespace="video", keys=[o.key, o.counter])
    ),
    "BatchSet": _attack(
        "BatchSet",
        lambda o: pb.BatchSetRequest(
            namespace="video", items=[pb.BatchSetItem(key=o.key, value=b"evil's")]
        ),
    ),
    "BatchDelete": _attack(
        "BatchDelete", lambda o: pb.BatchDeleteRequest(namespace="video", keys=[o.key, o.list])
    ),
    "BatchTouch": _attack(
        "BatchTouch",
        lambda o: pb.BatchTouchRequest(namespace="video", keys=[o.key], ttl=SECOND),
    ),
    "GetOrLease": _attack("GetOrLease", lambda o: pb.GetOrLeaseRequest(**_at(o.computing))),
    "Fill": _attack(
        "Fill",
        lambda o: pb.FillRequest(
            **_at(o.computing), lease_token=o.token, value=pb.FilledValue(value=b"evil's")
        ),
    ),
    "Extend": _attack(
        "Extend", lambda o: pb.ExtendRequest(**_at(o.computing), lease_token=o.token)
    ),
    "Abandon": _attack(
        "Abandon", lambda o: pb.AbandonRequest(**_at(o.computing), lease_token=o.token)
    ),
    "Increment": _attack("Increment", lambda o: pb.IncrementRequest(**_at(o.counter))),
    "PushToList": _attack(
        "PushToList", lambda o: pb.PushToListRequest(**_at(o.list), items=[b"evil's"])
    ),
    "ReadList": _attack("ReadList", lambda o: pb.ReadListRequest(**_at(o.list))),
    "TrimList": _attack("TrimList", lambda o: pb.TrimListRequest(**_at(o.list))),
    "AddToSet": _attack("AddToSet", lambda o: pb.AddToSetRequest(**_at(o.set), members=[b"e"])),
    "RemoveFromSet": _attack(
        "RemoveFromSet", lambda o: pb.RemoveFromSetRequest(**_at(o.set), members=[SECRET])
    ),
    "ListSetMembers": _attack("ListSetMembers", lambda o: pb.ListSetMembersRequest(**_at(o.set))),
    "CheckSetMembers": _attack(
        "CheckSetMembers", lambda o: pb.CheckSetMembersRequest(**_at(o.set), members=[b"x"])
    ),
    "Invalidate": _attack(
        "Invalidate", lambda _: pb.InvalidateRequest(tags=pb.TagsTarget(tags=["t"]))
    ),
    "WatchInvalidations": _watch,
    "GetStats": _attack("GetStats", lambda _: pb.GetStatsRequest()),
    "ListClasses": _attack("ListClasses", lambda _: pb.ListClassesRequest()),
    "InspectEntry": _attack("InspectEntry", lambda o: pb.InspectEntryRequest(**_at(o.key))),
}
OTHER_TARGETS = [
    pb.InvalidateRequest(namespace="video"),
    pb.InvalidateRequest(prefix=pb.PrefixTarget(namespace="video", prefix="k")),
    pb.InvalidateRequest(keys=pb.KeysTarget(namespace="video", keys=["k", "kc", "kl", "ks", "km"])),
]


async def _told(attack: Attack, evil: Caller, ours: Ours) -> bytes:
    try:
        return (await attack(evil, ours)).SerializeToString()
    except MainstayError as error:
        return error.message.encode()


class TestEveryMethod:
    def test_none_is_forgotten(self) -> None:
        """A new method needs a case here."""
        methods = pb.DESCRIPTOR.services_by_name["CacheService"].methods

        assert {method.name for method in methods} == set(ATTACKS)

    @pytest.mark.parametrize("key", ["k", "}", "{acme:cache}:head", "%7D:x"])
    async def test_stays_within_its_tenant(self, channel: Channel, key: str) -> None:
        """It tells nothing of what is another's and leaves all of it as it was."""
        acme, evil = Caller(channel, "acme"), Caller(channel, "evil")
        ours = await acme.prepare(key)
        before = await acme.state(ours)
        told, changed = [], []

        for method, attack in ATTACKS.items():
            if SECRET in await _told(attack, evil, ours):
                told.append(method)
            if before != await acme.state(ours):
                changed.append(method)

        assert ([], []) == (told, changed)

    @pytest.mark.parametrize("target", OTHER_TARGETS)
    async def test_invalidates_nobody_else_s(
        self, channel: Channel, target: pb.InvalidateRequest
    ) -> None:
        """By whatever it names."""
        acme, evil = Caller(channel, "acme"), Caller(channel, "evil")
        ours = await acme.prepare("k")
        before = await acme.state(ours)

        await evil("Invalidate", target)

        assert before == await acme.state(ours)

    async def test_a_lease_of_another_tenant_is_refused_by_name(self, channel: Channel) -> None:
        """Its token is for another entry, even where all names are the same."""
        ours = await Caller(channel, "acme").prepare("k")

        with pytest.raises(PreconditionError) as caught:
            await ATTACKS["Fill"](Caller(channel, "evil"), ours)

        assert caught.value.reason == "LEASE_OF_ANOTHER"

    async def test_statistics_and_quotas_are_apart(self, channel: Channel) -> None:
        """Who has done nothing sees nothing."""
        await Caller(channel, "acme").prepare("k")

        stats = await Caller(channel, "evil")("GetStats", pb.GetStatsRequest())

        assert not stats.groups
        assert {0} == {quota.used for quota in stats.quotas}


class TestHostileKeys:
    async def test_those_of_one_tenant_are_all_different(self, cache: CacheClient) -> None:
        """No two of them meet, and none leads into another namespace."""
        for key in HOSTILE_KEYS:
            await cache.set("video", key, key.encode())

        found = await cache.get_many("video", HOSTILE_KEYS)
        elsewhere = await cache.get_many("plan", HOSTILE_KEYS)

        assert [key.encode() for key in HOSTILE_KEYS] == [
            result.value for result in found.values() if isinstance(result, Hit)
        ]
        assert {COLD} == set(elsewhere.values())
