"""Results and payloads travel as JSON or are refused by name."""

import math
from datetime import UTC, datetime

import pytest

from mainstay.jobs.errors import ResultError
from mainstay.jobs.json_text import MAX_RESULT_BYTES, decode, encode, encode_result


class TestEncode:
    @pytest.mark.parametrize(
        "value", [None, True, 0, -1.5, "", "grün 🎬", [], [1, [2]], {}, {"a": {"b": [None]}}]
    )
    def test_returns_what_decodes_to_the_same(self, value: object) -> None:
        """What JSON can hold comes back unchanged."""
        assert value == decode(encode(value))

    def test_is_compact_and_keeps_letters(self) -> None:
        """Letters of any script count as what they are, not as escapes six times their size."""
        assert '{"título":["é"]}' == encode({"título": ["é"]})


class TestResultThatIsNoJson:
    @pytest.mark.parametrize(
        "value",
        [
            object(),
            {1, 2},
            b"bytes",
            datetime(2026, 1, 1, tzinfo=UTC),
            math.nan,
            math.inf,
            "\ud800",
        ],
    )
    def test_is_refused_by_the_name_of_its_step(self, value: object) -> None:
        """The error says which step and what would do."""
        with pytest.raises(ResultError, match=r"the result of step 'probe' .* return None, bool"):
            encode_result(value, of="step 'probe'")

    def test_is_refused_when_it_contains_itself(self) -> None:
        """A cycle is an error, not an endless loop."""
        cycle: list[object] = []
        cycle.append(cycle)

        with pytest.raises(ResultError, match="Circular"):
            encode_result(cycle, of="step 'probe'")


class TestLargeResult:
    def test_is_kept_up_to_the_limit(self) -> None:
        """1 MiB of JSON, quotes included."""
        text = encode_result("x" * (MAX_RESULT_BYTES - 2), of="step 'probe'")

        assert MAX_RESULT_BYTES == len(text)

    def test_is_refused_above(self) -> None:
        """The limit counts bytes, not letters; the error says what to do instead."""
        with pytest.raises(ResultError, match=r"1,048,578 bytes .* store it elsewhere"):
            encode_result("é" * (MAX_RESULT_BYTES // 2), of="step 'probe'")
