"""Where the next page begins."""

import pytest

from mainstay.errors import ValidationError
from services.ratelimit.paging import Page, page_of, token_after
from shared.pages import page_token


class TestPage:
    def test_begins_after_the_key_of_its_token(self) -> None:
        """And has the default size if none is asked for."""
        assert Page(100, ("user:1", 7)) == page_of(0, token_after("user:1", 7), str, int)

    def test_without_a_token_is_the_first(self) -> None:
        """Nothing stands before it."""
        assert Page(5, None) == page_of(5, "", str)

    @pytest.mark.parametrize("key", [("a",), (1, 2), (2**63,)])
    def test_of_a_token_that_was_never_issued_is_refused(self, key: tuple[str | int, ...]) -> None:
        """Another list's, or a number that no row can have."""
        with pytest.raises(ValidationError) as caught:
            page_of(0, page_token(key), int)

        assert ["page_token"] == list(caught.value.fields)

    def test_of_a_text_that_no_row_has_is_refused(self) -> None:
        """PostgreSQL holds no NUL."""
        with pytest.raises(ValidationError):
            page_of(0, page_token(["a\0"]), str)
