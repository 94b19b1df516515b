"""Requests that are well-formed and mean harm: the field is refused, or their cost is bounded."""

from typing import Any

import pytest
import redis.asyncio
from google.protobuf.struct_pb2 import Struct, Value

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.errors import ValidationError
from services.cache.cache import LARGEST_PART

MIB = 1024 * 1024
NAME: dict[str, Any] = {"namespace": "video", "key": "k"}
UNKNOWN: Any = 7


@pytest.fixture
def stub(channel: Channel) -> Any:
    return pb_grpc.CacheServiceStub(channel.raw)


class TestBatchesOfLargeValues:
    async def test_small_ones_in_front_do_not_have_the_rest_fetched_at_once(
        self, channel: Channel, stub: Any, store: redis.asyncio.Redis
    ) -> None:
        """Whatever the first keys hold, one command gets a bounded number of values."""
        keys = [f"k{n}" for n in range(500)]
        for key in keys[-100:]:
            request = pb.SetRequest(namespace="video", key=key, value=b"x" * (MIB // 8))
            await channel.unary(stub.Set, request)
        await store.config_resetstat()

        with pytest.raises(ValidationError, match="hold more than"):
            await channel.unary(stub.BatchGet, pb.BatchGetRequest(namespace="video", keys=keys))

        commands = await store.info("commandstats")
        assert commands["cmdstat_mget"]["calls"] >= len(keys) // LARGEST_PART


class TestEventData:
    @pytest.mark.parametrize(
        "data",
        [
            Struct(fields={"user_id": Value()}),
            Struct(fields={"user_id": Value(struct_value=Struct(fields={"id": Value()}))}),
        ],
        ids=["empty", "object"],
    )
    async def test_a_value_without_a_kind(self, channel: Channel, stub: Any, data: Struct) -> None:
        """What no JSON can say is no string, number or boolean either."""
        event = pb.EventTarget(type="membership.updated", data=data)

        with pytest.raises(ValidationError) as caught:
            await channel.unary(stub.Invalidate, pb.InvalidateRequest(event=event))

        assert {"event.data.user_id"} == set(caught.value.fields)


class TestResuming:
    @pytest.mark.parametrize("epoch", ["z", "AB", "a" * 65, "f" * MIB], ids=lambda e: e[:3])
    async def test_an_epoch_that_no_history_has(
        self, channel: Channel, stub: Any, epoch: str
    ) -> None:
        """It would be held in memory for as long as the stream lasts."""
        watch = channel.server_stream(
            stub.WatchInvalidations, pb.WatchInvalidationsRequest(epoch=epoch, sequence=1)
        )

        with pytest.raises(ValidationError) as caught:
            await anext(watch)

        assert {"epoch"} == set(caught.value.fields)


class TestNumbersThatNameNothing:
    async def test_a_condition_of_a_later_version(self, channel: Channel, stub: Any) -> None:
        """A condition that is not understood is not the same as none."""
        written = await channel.unary(stub.Set, pb.SetRequest(**NAME, value=b"1"))

        with pytest.raises(ValidationError) as caught:
            await channel.unary(stub.Set, pb.SetRequest(**NAME, value=b"2", existence=UNKNOWN))

        found = await channel.unary(stub.Get, pb.GetRequest(**NAME))
        assert {"existence"} == set(caught.value.fields)
        assert written.version == found.hit.version

    async def test_a_condition_within_a_batch(self, channel: Channel, stub: Any) -> None:
        """Its place in the batch is named."""
        items = [pb.BatchSetItem(key="a"), pb.BatchSetItem(key="b", existence=UNKNOWN)]

        with pytest.raises(ValidationError) as caught:
            await channel.unary(stub.BatchSet, pb.BatchSetRequest(namespace="video", items=items))

        assert {"items[1].existence"} == set(caught.value.fields)

    async def test_an_end_of_a_list(self, channel: Channel, stub: Any) -> None:
        """What should go to an end that we do not know goes to none."""
        with pytest.raises(ValidationError) as caught:
            await channel.unary(
                stub.PushToList, pb.PushToListRequest(**NAME, items=[b"1"], end=UNKNOWN)
            )

        assert {"end"} == set(caught.value.fields)
