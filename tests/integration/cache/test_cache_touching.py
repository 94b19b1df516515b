"""Touches of one entry at the same time, and the books that say what a tenant holds."""

from typing import Any

from google.protobuf.duration_pb2 import Duration

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from services.cache.keys import tenant_key
from tests.integration.cache.conftest import TENANT

FIVE_MINUTES, AN_HOUR = Duration(seconds=300), Duration(seconds=3_600)


class TestAtTheSameTime:
    async def test_each_takes_off_the_books_what_it_found(
        self, channel: Channel, store: Any
    ) -> None:
        """And nothing of a neighbour that ends when the entry would have."""
        stub: Any = pb_grpc.CacheServiceStub(channel.raw)
        keys = ["touched", "neighbour"]
        items = [pb.BatchSetItem(key=key, ttl=FIVE_MINUTES) for key in keys]
        await channel.unary(stub.BatchSet, pb.BatchSetRequest(namespace="video", items=items))

        await channel.unary(
            stub.BatchTouch,
            pb.BatchTouchRequest(namespace="video", keys=["touched"] * 3, ttl=AN_HOUR),
        )
        # Asking for what is held writes what has been collected.
        await channel.unary(stub.GetStats, pb.GetStatsRequest())

        books = await store.hgetall(tenant_key(TENANT, "usage"))
        booked = sorted(int(n) for part, n in books.items() if part.startswith(b"entries:"))
        assert [1, 1] == [n for n in booked if n]
