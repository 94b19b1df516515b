"""Tokens of leases and shares: what goes in comes out, and nothing else is taken for one."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.errors import ValidationError
from services.ratelimit.lease import (
    ID_BYTES,
    LeaseToken,
    lease_token,
    named_lease,
    read_lease_token,
)
from services.ratelimit.opaque import seal, unseal
from services.ratelimit.reservation import (
    read_share_token,
    reservation_fault,
    share_token,
)

IDS = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)
SUBJECTS = st.text(alphabet="ab:}%{é😀 ", min_size=1, max_size=64)
RULES = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)
LEASES = st.builds(LeaseToken, RULES, SUBJECTS, IDS, st.integers(0, 2**53))


class TestSealedText:
    @given(st.binary(max_size=400))
    def test_it_opens_to_what_was_sealed(self, content: bytes) -> None:
        """In letters that travel anywhere."""
        text = seal(content)

        assert content == unseal(text)
        assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

    @given(st.binary(max_size=100), st.data())
    def test_a_changed_letter_is_found(self, content: bytes, data: st.DataObject) -> None:
        """Whichever it is, but for bits that stand for nothing at the end."""
        text = seal(content)
        place = data.draw(st.integers(0, len(text) - 2))
        letter = data.draw(st.sampled_from("ABCxyz019-_").filter(lambda one: one != text[place]))

        assert unseal(text[:place] + letter + text[place + 1 :]) is None

    @given(st.text(max_size=100))
    def test_any_text(self, text: str) -> None:
        """Is refused, and nothing breaks."""
        assert unseal(text) is None

    @pytest.mark.parametrize("text", ["", "A", "====", "A" * 100_000, "\n", "a b", "é" * 8])
    def test_what_is_no_text_of_ours(self, text: str) -> None:
        """Empty, cut off, of any length and in any letters."""
        assert unseal(text) is None


class TestLeaseTokens:
    @given(LEASES)
    def test_round_trip(self, token: LeaseToken) -> None:
        """Whatever stands in the subject."""
        assert token == read_lease_token(lease_token(token))

    def test_it_fits_a_header(self) -> None:
        """With the longest names there are."""
        token = LeaseToken("r" * 64, "é" * 128, bytes(ID_BYTES), 2**53)

        assert len(lease_token(token)) <= 600
        assert token == read_lease_token(lease_token(token))

    @pytest.mark.parametrize("rule", ["~top", "video:1", "~once:x"])
    def test_one_that_leads_elsewhere_is_refused(self, rule: str) -> None:
        """Whoever makes one up reaches leases only, not what else a tenant has."""
        with pytest.raises(ValidationError):
            read_lease_token(lease_token(LeaseToken(rule, "user:42", bytes(ID_BYTES), 1)))

    @given(st.binary(max_size=100))
    def test_any_content(self, content: bytes) -> None:
        """Is read as a token or refused; nothing breaks."""
        with suppress(ValidationError):
            assert seal(content) == lease_token(read_lease_token(seal(content)))


class TestNamedLeases:
    def test_a_request_has_one(self) -> None:
        """The same at every replica, another for another request."""
        assert named_lease("upload-1") == named_lease("upload-1")
        assert named_lease("upload-1") != named_lease("upload-2")
        assert len(named_lease("é" * 128)) == ID_BYTES


class TestShareTokens:
    @given(IDS, st.integers(1, 1_000_000))
    def test_round_trip(self, reservation: bytes, amount: int) -> None:
        """Which reservation, and how much of it there is."""
        token = share_token(reservation.hex(), amount)

        assert (reservation.hex(), amount) == read_share_token(token)

    @given(LEASES)
    def test_a_lease_is_no_share(self, token: LeaseToken) -> None:
        """Nor the other way round."""
        with pytest.raises(ValidationError):
            read_share_token(lease_token(token))
        with pytest.raises(ValidationError):
            read_lease_token(share_token(token.lease.hex(), 1))


class TestNamesOfReservations:
    @pytest.mark.parametrize("name", ["0" * 32, "0123456789abcdef" * 2])
    def test_what_was_answered(self, name: str) -> None:
        """Has nothing wrong with it."""
        assert reservation_fault(name) is None

    @pytest.mark.parametrize("name", ["", "0" * 31, "0" * 33, "A" * 32, "}" * 32, "\u0660" * 32])
    def test_what_was_not(self, name: str) -> None:
        """Never reaches the store."""
        assert reservation_fault(name) is not None
