"""What the cache client refuses before it asks, and how it reads answers of newer services."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from mainstay.cache import MissReason, conversions
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.watching import Discontinuity, watched
from mainstay.errors import (
    CacheError,
    ConflictError,
    PreconditionError,
    QuotaError,
    UnknownError,
    ValidationError,
)


class TestArgumentsThatExcludeEachOther:
    def test_ttl_and_class(self) -> None:
        """An entry has one expiry."""
        with pytest.raises(ValidationError, match="ttl and ttl_class exclude") as caught:
            conversions.expiry(timedelta(seconds=1), "general")

        assert ["ttl"] == list(caught.value.fields)

    @pytest.mark.parametrize(
        "given",
        [
            {"if_absent": True, "if_present": True, "if_version": None},
            {"if_absent": True, "if_present": False, "if_version": 0},
            {"if_absent": False, "if_present": True, "if_version": 7},
        ],
    )
    def test_conditions(self, given: dict[str, Any]) -> None:
        """A write has one condition."""
        with pytest.raises(ValidationError, match="exclude each other") as caught:
            conversions.condition(**given)

        assert ["condition"] == list(caught.value.fields)

    def test_version_zero_is_a_condition(self) -> None:
        """Zero is given, not left out."""
        found = conversions.condition(if_absent=False, if_present=False, if_version=0)

        assert {"version": 0} == found

    @pytest.mark.parametrize("given", ["tag", ""])
    def test_a_string_where_strings_are_meant(self, given: Iterable[str]) -> None:
        """It would be taken letter by letter."""
        with pytest.raises(ValidationError, match="tags is one string") as caught:
            conversions.texts(given, "tags")

        assert ["tags"] == list(caught.value.fields)


class TestLengths:
    @pytest.mark.parametrize("given", [5, 0.5, "5m"])
    def test_only_a_timedelta_says_its_unit(self, given: Any) -> None:
        """A bare 5 may mean seconds or milliseconds."""
        with pytest.raises(TypeError, match="is no length of time; give a timedelta"):
            conversions.expiry(given, None)


class TestReasons:
    def test_every_reason_has_a_name_here(self) -> None:
        """A reason that is added to the contract is added here too."""
        numbers = [number for number in pb.MissReason.values() if number]
        reasons = [conversions.miss_reason(number) for number in numbers]

        assert MissReason.UNKNOWN not in reasons
        assert len(reasons) == len(set(reasons)) == len(MissReason) - 1

    def test_a_reason_from_the_future(self) -> None:
        """A number that this version does not know is UNKNOWN, not an error."""
        wire = pb.Miss.FromString(b"\x08\x7f")

        assert MissReason.UNKNOWN is conversions.miss(wire).reason

    def test_a_message_from_the_future(self) -> None:
        """A stream that says what this version does not know may have said that all is over."""
        event = watched(pb.WatchInvalidationsResponse(epoch="e")).event

        assert isinstance(event, Discontinuity)


class TestPartsOfABatch:
    @pytest.mark.parametrize(
        ("code", "reason", "kind"),
        [
            (8, "QUOTA_EXCEEDED", QuotaError),
            (9, "WRONG_KIND", PreconditionError),
            (10, "CONDITION_UNMET", ConflictError),
            (3, "VALIDATION_FAILED", ValidationError),
            (14, "CACHE_UNAVAILABLE", CacheError),
            (14, "CACHE_FULL", CacheError),
            (99, "", UnknownError),
        ],
    )
    def test_fail_as_the_call_alone_would(self, code: int, reason: str, kind: type) -> None:
        """The class, reason and message of the error are the same."""
        error = conversions.refused(pb.BatchError(code=code, reason=reason, message="no")).error

        assert (kind, reason or "UNKNOWN", "no") == (type(error), error.reason, error.message)


class TestDurations:
    @pytest.mark.parametrize(
        "length",
        [timedelta(), timedelta(milliseconds=1), timedelta(days=366), timedelta(microseconds=-1)],
    )
    def test_arrive_as_they_are(self, length: timedelta) -> None:
        """Negative ones too: the service names what is wrong with them."""
        assert length == conversions.duration(length).ToTimedelta()
