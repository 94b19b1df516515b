"""What the contract promises to callers in any language, asked through the bare stub."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from prometheus_client import REGISTRY

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.errors import ValidationError

MIB = 1024 * 1024
GOOD = {"namespace": "video", "key": "v1"}


def _set(**fields: Any) -> pb.SetRequest:
    return pb.SetRequest(**{**GOOD, **fields})


def _batch(*keys: str, namespace: str = "video") -> pb.BatchGetRequest:
    return pb.BatchGetRequest(namespace=namespace, keys=keys)


class TestValidation:
    @pytest.mark.parametrize(
        ("method", "request_message", "fields"),
        [
            ("Get", pb.GetRequest(key="k"), {"namespace"}),
            ("Get", pb.GetRequest(namespace="Video", key="k"), {"namespace"}),
            ("Get", pb.GetRequest(namespace="n" * 65, key="k"), {"namespace"}),
            ("Get", pb.GetRequest(namespace="video"), {"key"}),
            ("Get", pb.GetRequest(namespace="video", key="k" * 513), {"key"}),
            ("Get", pb.GetRequest(namespace="video", key="a\nb"), {"key"}),
            ("Get", pb.GetRequest(), {"namespace", "key"}),
            ("Delete", pb.DeleteRequest(key="k"), {"namespace"}),
            ("Delete", pb.DeleteRequest(namespace="video", key="\x7f"), {"key"}),
            ("Set", _set(namespace="a:b"), {"namespace"}),
            ("Set", _set(key=""), {"key"}),
            ("Set", _set(value=b"x" * (MIB + 1)), {"value"}),
            ("Set", _set(content_type="t" * 101), {"content_type"}),
            ("Set", _set(content_type="a/b\r\n"), {"content_type"}),
            ("Set", _set(ttl=Duration()), {"ttl"}),
            ("Set", _set(ttl=Duration(seconds=-1)), {"ttl"}),
            ("Set", _set(ttl=Duration(nanos=999_999)), {"ttl"}),
            ("Set", _set(ttl=Duration(seconds=366 * 86_400, nanos=1_000_000)), {"ttl"}),
            ("Set", _set(ttl=Duration(seconds=2**63 - 1)), {"ttl"}),
            ("Set", _set(ttl_class="nonsense"), {"ttl_class"}),
            ("Set", _set(ttl_class=""), {"ttl_class"}),
            (
                "Set",
                pb.SetRequest(value=b"x" * (MIB + 1), content_type="é", ttl_class="nonsense"),
                {"namespace", "key", "value", "content_type", "ttl_class"},
            ),
            ("BatchGet", _batch(), {"keys"}),
            ("BatchGet", _batch(*["k"] * 1001), {"keys"}),
            ("BatchGet", _batch("k", namespace=""), {"namespace"}),
            ("BatchGet", _batch("good", "", "b\tad"), {"keys[1]", "keys[2]"}),
            ("BatchGet", _batch(*[""] * 1000), {f"keys[{n}]" for n in range(10)}),
        ],
    )
    async def test_a_wrong_field_is_named(
        self, channel: Channel, method: str, request_message: Message, fields: set[str]
    ) -> None:
        """INVALID_ARGUMENT names every wrong field, and no other."""
        call = _method(channel, method)

        with pytest.raises(ValidationError) as caught:
            await channel.unary(call, request_message)

        assert fields == set(caught.value.fields)
        assert caught.value.reason == "VALIDATION_FAILED"

    async def test_an_unknown_class_is_answered_with_the_known_ones(self, channel: Channel) -> None:
        """A caller sees what it should have written."""
        with pytest.raises(ValidationError) as caught:
            await channel.unary(_method(channel, "Set"), _set(ttl_class="video"))

        assert caught.value.fields == {
            "ttl_class": "'video' is unknown; known are ai_embeddings, analytics, chat_context, "
            "creator_settings, general, user_plan, video_metadata"
        }

    async def test_a_refused_write_changes_nothing(self, channel: Channel) -> None:
        """What stood there before a wrong Set stands there after it."""
        await channel.unary(_method(channel, "Set"), _set(value=b"old"))
        with pytest.raises(ValidationError):
            await channel.unary(_method(channel, "Set"), _set(value=b"new", ttl_class="nonsense"))

        response = await channel.unary(_method(channel, "Get"), pb.GetRequest(**GOOD))

        assert response.hit.value == b"old"


class TestBatchGet:
    async def test_answers_in_the_order_of_the_keys_and_repeats_what_was_repeated(
        self, channel: Channel
    ) -> None:
        """One result for each key, in order."""
        await channel.unary(_method(channel, "Set"), _set(value=b"v"))

        response = await channel.unary(_method(channel, "BatchGet"), _batch("x", "v1", "x", "v1"))

        assert ["x", "v1", "x", "v1"] == [result.key for result in response.results]
        assert ["miss", "hit", "miss", "hit"] == [
            result.WhichOneof("result") for result in response.results
        ]

    async def test_more_than_a_message_holds_is_refused_with_a_reason(
        self, channel: Channel
    ) -> None:
        """Five values of 1 MiB do not fit the 4 MiB that clients accept: the caller is told."""
        await channel.unary(_method(channel, "Set"), _set(value=b"x" * MIB))
        call = _method(channel, "BatchGet")

        fits = await channel.unary(call, _batch(*["v1"] * 3))
        with pytest.raises(ValidationError) as caught:
            await channel.unary(call, _batch(*["v1"] * 5))

        assert 3 * MIB == sum(len(result.hit.value) for result in fits.results)
        assert (caught.value.reason, set(caught.value.fields)) == ("BATCH_TOO_LARGE", {"keys"})


class TestMetrics:
    async def test_reads_are_counted_by_namespace_and_result(self, channel: Channel) -> None:
        """Single and batch reads alike."""
        before = _reads("counted", "hit"), _reads("counted", "cold")
        await channel.unary(_method(channel, "Set"), _set(namespace="counted"))
        await channel.unary(_method(channel, "Get"), pb.GetRequest(namespace="counted", key="v1"))
        await channel.unary(
            _method(channel, "BatchGet"), _batch("v1", "other", namespace="counted")
        )

        after = _reads("counted", "hit"), _reads("counted", "cold")

        assert (2, 1) == (after[0] - before[0], after[1] - before[1])


def _reads(namespace: str, result: str) -> float:
    labels = {"namespace": namespace, "result": result}
    return REGISTRY.get_sample_value("mainstay_cache_reads_total", labels) or 0.0


def _method(channel: Channel, name: str) -> Any:
    return getattr(pb_grpc.CacheServiceStub(channel.raw), name)
