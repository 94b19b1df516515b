"""The cache: invalidation, its stream, and what is counted."""

from collections.abc import Mapping

from mainstay.cache.v1 import cache_service_pb2 as pb
from tests.integration.tenants import cache_collection_cases, cache_entry_cases
from tests.integration.tenants.cache_entry_cases import MINUTE, NAMESPACE, an_entry, entry, method
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import Answer, Case, Entry, NothingOfTenants, Thing, asks


def targets(thing: Thing) -> list[pb.InvalidateRequest]:
    """Return everything by which the entry of a thing could be invalidated."""
    return [
        pb.InvalidateRequest(keys=pb.KeysTarget(namespace=NAMESPACE, keys=[thing.name])),
        pb.InvalidateRequest(tags=pb.TagsTarget(tags=[thing.name])),
        pb.InvalidateRequest(prefix=pb.PrefixTarget(namespace=NAMESPACE, prefix=thing.name[:4])),
        pb.InvalidateRequest(namespace=NAMESPACE),
    ]


async def invalidate(caller: Caller, thing: Thing) -> Answer:
    return [await caller.ask(method("Invalidate"), request) for request in targets(thing)]


async def watch(caller: Caller, thing: Thing) -> Answer:
    """Return what a watcher hears until it hears of an invalidation of its own.

    The owner invalidates first: what comes of that would have come before.
    """
    heard: list[pb.WatchInvalidationsResponse] = []
    request = pb.WatchInvalidationsRequest()
    async with caller.stream(method("WatchInvalidations"), request) as stream:
        await stream.read()  # it has started
        owner: Caller = thing.more
        await owner.ask(
            method("Invalidate"),
            pb.InvalidateRequest(keys=pb.KeysTarget(namespace=NAMESPACE, keys=[thing.secret])),
        )
        fence = pb.KeysTarget(namespace=NAMESPACE, keys=["fence"])
        await caller.ask(method("Invalidate"), pb.InvalidateRequest(keys=fence))
        while not (heard and any(e.key == "fence" for e in heard[-1].invalidation.entries)):
            heard.append(await stream.read())
    return heard


async def the_owner(owner: Caller, thing: Thing) -> Thing:
    """Remember who invalidates."""
    return Thing(name=thing.name, secret=thing.secret, more=owner)


def hears(heard: list[pb.WatchInvalidationsResponse], thing: Thing) -> bool:
    return any(
        each.key == thing.secret for message in heard for each in message.invalidation.entries
    )


async def a_hit(owner: Caller, thing: Thing) -> Thing:
    """Have a hit counted in a namespace of its own."""
    await owner.ask(
        method("Set"), pb.SetRequest(namespace=thing.name, key="k", value=b"v", ttl=MINUTE)
    )
    await owner.ask(method("Get"), pb.GetRequest(namespace=thing.name, key="k"))
    return thing


CASES: Mapping[str, Entry] = {
    **cache_entry_cases.CASES,
    **cache_collection_cases.CASES,
    "Invalidate": Case(make=an_entry, reach=invalidate, state=entry, changes=True),
    "WatchInvalidations": Case(make=the_owner, reach=watch, shows=hears),
    "GetStats": Case(
        make=a_hit,
        reach=asks(method("GetStats"), lambda _: pb.GetStatsRequest()),
        shows=lambda answer, t: any(group.namespace == t.name for group in answer.groups),
        late=True,
    ),
    "ListClasses": NothingOfTenants(
        reason="The classes of the policy hold for all; what tenants have is not in it."
    ),
}
