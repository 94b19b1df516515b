"""What may be asked: bounds of every field."""

import pytest

from mainstay.errors import ValidationError
from services.ratelimit.act import MAX_COST, MAX_TEXT_BYTES, Act


def _act(subject: str = "user:42", endpoint: str = "chat", cost: int = 1) -> Act:
    return Act.of(subject=subject, endpoint=endpoint, plan="", cost=cost)


class TestBounds:
    @pytest.mark.parametrize(
        "text", ["a", "a" * MAX_TEXT_BYTES, "é" * 128, "{}:%* \u2028\u200d", "用户"]
    )
    def test_any_text_of_the_right_size_is_accepted(self, text: str) -> None:
        """Only control characters are not text."""
        act = _act(subject=text, endpoint=text)

        assert (act.subject, act.endpoint) == (text, text)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "is empty; give 1 to 256 bytes"),
            ("a" * 257, "has 257 bytes; give 1 to 256 bytes"),
            ("é" * 129, "has 258 bytes; give 1 to 256 bytes"),
            ("a\x00", "contains a control character; leave it out"),
            ("a\n", "contains a control character; leave it out"),
            ("\x7f", "contains a control character; leave it out"),
            ("\x85", "contains a control character; leave it out"),
        ],
    )
    def test_what_is_wrong_is_told_for_each_field(self, text: str, told: str) -> None:
        """All fields at once."""
        with pytest.raises(ValidationError) as caught:
            _act(subject=text, endpoint=text, cost=0)

        assert caught.value.fields == {
            "subject": told,
            "endpoint": told,
            "cost": "is 0; give 1 to 1,000,000, or leave it out for 1",
        }

    @pytest.mark.parametrize("cost", [1, MAX_COST])
    def test_a_cost_may_be_up_to_a_million(self, cost: int) -> None:
        """Both ends included."""
        assert _act(cost=cost).cost == cost

    @pytest.mark.parametrize("cost", [0, MAX_COST + 1])
    def test_other_costs_are_refused(self, cost: int) -> None:
        """A cost of zero would be a peek in disguise."""
        with pytest.raises(ValidationError):
            _act(cost=cost)
