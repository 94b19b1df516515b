"""Cursors of lists."""

import base64

import pytest

from mainstay.errors import ValidationError
from shared.pages import page_key, page_size, page_token


class TestPageSize:
    @pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (500, 500)])
    def test_none_means_the_default(self, asked: int, given: int) -> None:
        """Protobuf's zero is "not said"."""
        assert given == page_size(asked)

    @pytest.mark.parametrize("asked", [-1, 501])
    def test_beyond_bounds_is_refused(self, asked: int) -> None:
        """With the field and what would be right."""
        with pytest.raises(ValidationError) as caught:
            page_size(asked)

        assert {"page_size": f"is {asked}; give 1 to 500, or leave it out for 100"} == (
            caught.value.fields
        )


class TestPageToken:
    def test_a_token_holds_the_key_of_the_last_row(self) -> None:
        """Whatever stands in it."""
        key: list[str | int] = ["user:42 ü/+", 1_700_000_000_000_000]

        assert key == page_key(page_token(key), str, int)

    def test_the_first_page_has_none(self) -> None:
        """Empty is where a list begins."""
        assert page_key("", str) is None

    @pytest.mark.parametrize(
        "token",
        [
            "nonsense",
            "é",
            "=",
            page_token(["one"]),
            page_token(["one", "two"]),
            page_token([1, "two"]),
            base64.urlsafe_b64encode(b'{"a": 1}').decode(),
            base64.urlsafe_b64encode(b"[" * 1_000).decode(),
        ],
    )
    def test_anything_else_is_refused(self, token: str) -> None:
        """Also the token of another list."""
        with pytest.raises(ValidationError, match="page_token is none that a page of this list"):
            page_key(token, str, int)
