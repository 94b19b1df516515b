"""Optimistic locking by etags."""

import pytest

from mainstay.errors import ConflictError
from shared.etags import check_etag, etag_of


class TestCheckEtag:
    @pytest.mark.parametrize(("expected", "current"), [("7", "7"), ("", "7"), ("", "")])
    def test_lets_pass_what_is_as_expected(self, expected: str, current: str) -> None:
        """Or what nobody expected anything of."""
        check_etag(expected, current, instead="the thing has changed")

    @pytest.mark.parametrize("current", ["8", ""])
    def test_refuses_what_is_not(self, current: str) -> None:
        """It says what there is instead and what to do, and gives the current etag to programs."""
        with pytest.raises(ConflictError) as caught:
            check_etag("7", current, instead=f"the thing has the etag {current}")

        assert ("ETAG_MISMATCH", {"etag": current}) == (
            caught.value.reason,
            {**caught.value.metadata},
        )
        assert caught.value.message.startswith(f"the thing has the etag {current}: somebody else")

    def test_counts_zero_as_an_expectation(self) -> None:
        """A revision of 0 means that there is none yet, which is not "whatever there is"."""
        with pytest.raises(ConflictError):
            check_etag(etag_of(0), etag_of(1), instead="there is one")

    def test_may_tell_more(self) -> None:
        """Where a thing has another name for its etag."""
        with pytest.raises(ConflictError) as caught:
            check_etag("1", "2", instead="it changed", metadata={"version": "2"})

        assert {"version": "2"} == {**caught.value.metadata}
