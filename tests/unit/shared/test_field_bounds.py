"""A bound for every field of a message that is larger than messages are."""

import pytest
from google.protobuf.message import Message

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.errors import ValidationError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as limits_pb
from shared.rpc.field_bounds import MOST, ORDINARY, FieldBounds

LONG = "x" * (ORDINARY + 1)


def _with_object() -> job_pb.EnqueueRequest:
    request = job_pb.EnqueueRequest()
    request.object.update({"x": LONG})
    return request


def _batch(key: str, value: bytes) -> cache_pb.BatchSetRequest:
    return cache_pb.BatchSetRequest(items=[cache_pb.BatchSetItem(key=key, value=value)])


class TestWhatIsTooLong:
    @pytest.mark.parametrize(
        ("message", "field"),
        [
            (cache_pb.GetRequest(namespace="n", key=LONG), "key"),
            (cache_pb.SetRequest(value=LONG.encode()), "value"),
            (cache_pb.BatchGetRequest(keys=["k", LONG]), "keys[1]"),
            (
                limits_pb.CheckRequest(also=[limits_pb.Act(), limits_pb.Act(plan=LONG)]),
                "also[1].plan",
            ),
            (cache_pb.BatchGetRequest(keys=["k"] * (MOST + 1)), "keys"),
            (_with_object(), "object"),
            (cache_pb.GetRequest(key="é" * (ORDINARY // 2 + 1)), "key"),
        ],
        ids=["text", "bytes", "one of a list", "deeper", "list", "struct", "in bytes"],
    )
    def test_is_named(self, message: Message, field: str) -> None:
        """The first field beyond its bound, with its place in a list."""
        with pytest.raises(ValidationError) as caught:
            FieldBounds().check(message)

        assert [field] == [*caught.value.fields]


class TestWhatIsNot:
    @pytest.mark.parametrize(
        "message",
        [
            cache_pb.GetRequest(key=LONG[1:]),
            cache_pb.BatchGetRequest(keys=["x" * 500] * 1_000),
            cache_pb.BatchSetRequest(items=[cache_pb.BatchSetItem(key="k" * 500)] * 1_000),
        ],
        ids=["as long as may be", "many", "many messages"],
    )
    def test_passes(self, message: Message) -> None:
        """A message may be large, as long as none of its fields is."""
        FieldBounds().check(message)

    def test_a_roomy_field_passes(self) -> None:
        """Its service bounds it; the others beside it are looked at all the same."""
        bounds = FieldBounds(frozenset({"items.value"}))
        bounds.check(_batch("k", LONG.encode()))
        with pytest.raises(ValidationError) as caught:
            bounds.check(_batch(LONG, b"x"))

        assert ["items[0].key"] == [*caught.value.fields]
