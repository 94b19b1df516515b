"""Server CPU of a cache hit, as a ratio to a bare grpc.aio echo of the same message."""

from datetime import timedelta

from bench.floor import Call, compare
from bench.report import Findings
from bench.target import cache_service, echo_server
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel

VALUE = b"x" * 100


async def run() -> Findings:
    """Compare hits of one key."""
    async with cache_service() as target, echo_server() as echo:
        async with Channel(target.address) as channel:
            await CacheClient(channel).set("bench", "key", VALUE, ttl=timedelta(hours=1))
        return await compare("Get", target.service, echo, _get_on)


def _get_on(channel: Channel) -> Call:
    client = CacheClient(channel)
    return lambda _: client.get("bench", "key")
