"""From a payload to the job that is to be stored."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from services.jobs.event import NewEvent, Origin
from services.jobs.function import DEFAULT_BACKOFF, FunctionDefinition
from services.jobs.job import EventId, JobId
from services.jobs.starting import MAX_VALUE_BYTES, job_of, key_of, text_at
from shared.rpc.call import Tenant

DATA = {
    "": "nameless",
    "id": "v-1",
    "n": 5,
    "x": 1.5,
    "yes": True,
    "no": None,
    "deep": {"b": [10, {"c": "found"}], "a": 1},
    "a/b": "slash",
    "m~n": "tilde",
    "7": "seven",
}
FUNCTION = FunctionDefinition(
    name="f", trigger="e", max_attempts=4, backoff=DEFAULT_BACKOFF, start_timeout=9.0, priority=3
)
EVENT = NewEvent(
    event_id=EventId(UUID(int=1)),
    name="e",
    data="{}",
    size=2,
    value={},
    idempotency_key="",
    content_hash=b"",
    delay=2.5,
)
ORIGIN = Origin(tenant=Tenant("acme"), request_id="r", traceparent="t", schedule="s")


class TestTextAt:
    @pytest.mark.parametrize(
        ("pointer", "text"),
        [
            ("/id", "v-1"),
            ("/n", "5"),
            ("/x", "1.5"),
            ("/yes", "true"),
            ("/deep/b/0", "10"),
            ("/deep/b/1/c", "found"),
            ("/deep", '{"a":1,"b":[10,{"c":"found"}]}'),
            ("/a~1b", "slash"),
            ("/m~0n", "tilde"),
            ("/", "nameless"),
            ("/7", "seven"),
        ],
    )
    def test_value(self, pointer: str, text: str) -> None:
        """What a pointer leads to stands as text."""
        assert text == text_at(DATA, pointer)

    @pytest.mark.parametrize(
        "pointer",
        [
            "/none",
            "/no",
            "/deep/b/2",
            "/deep/b/-",
            "/deep/b/01",
            "/deep/b/+1",
            "/id/0",
            "/deep/b/²",
        ],
    )
    def test_nothing(self, pointer: str) -> None:
        """A pointer to nothing, or to null, has no text."""
        assert text_at(DATA, pointer) is None

    @pytest.mark.parametrize("value", ["é" * 101, "a\0b", {"x": "y" * 200}])
    def test_hashed(self, value: Any) -> None:
        """What is too long, or cannot be stored, stands for its hash."""
        text = text_at({"v": value}, "/v")

        assert text is not None
        assert text.startswith("sha256:")
        assert text != text_at({"v": [value]}, "/v")

    def test_just_short_enough(self) -> None:
        """Up to the bound a value stands for itself."""
        assert "é" * 100 == text_at({"v": "é" * (MAX_VALUE_BYTES // 2)}, "/v")


class TestKeyOf:
    def test_without_a_pointer(self) -> None:
        """A function without a key counts all its jobs together."""
        assert key_of(FUNCTION, DATA) == ""

    def test_by_pointer(self) -> None:
        """With one, those with the same value; without a value they share a key."""
        keyed = replace(FUNCTION, key_pointer="/id")

        assert ["v-1", "", ""] == [key_of(keyed, data) for data in (DATA, {}, {"id": None})]


class TestJobOf:
    def test_from_the_event(self) -> None:
        """What the event says goes before what the function declares."""
        job = job_of(FUNCTION, replace(EVENT, priority=-5), ORIGIN, JobId(UUID(int=2)))

        assert (-5, 2.5, 4, 9.0) == (job.priority, job.delay, job.max_attempts, job.start_timeout)
        assert ("r", "t", "s") == (job.request_id, job.traceparent, job.schedule)

    def test_from_the_function(self) -> None:
        """What it leaves open is as declared; who starts it may set the delay."""
        job = job_of(FUNCTION, EVENT, ORIGIN, JobId(UUID(int=2)), delay=0.0)

        assert (3, 0.0) == (job.priority, job.delay)
