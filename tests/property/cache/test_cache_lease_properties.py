"""Tokens of leases: what goes in comes out, for one entry only, whatever its name."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mainstay.errors import PreconditionError
from services.cache import lease
from services.cache.entry import MissReason
from services.cache.keys import EntryName
from services.cache.lease import Token

NUMBERS = st.integers(min_value=0, max_value=2**64 - 1)
# All but the one that is only counted: no entry is missed for it.
REASONS = st.sampled_from([None, *MissReason]).filter(
    lambda reason: reason is not MissReason.STORE_UNAVAILABLE
)
TOKENS = st.builds(Token, sequence=NUMBERS, grant_ms=NUMBERS, reason=REASONS)
RANDOMNESS = st.binary(min_size=lease.RANDOM_BYTES, max_size=lease.RANDOM_BYTES)
NAMES = st.builds(
    EntryName,
    tenant=st.text(alphabet="ab:}%", min_size=1, max_size=4),
    namespace=st.text(alphabet="ab.", min_size=1, max_size=4),
    key=st.text(alphabet="ab:}%{é", min_size=1, max_size=6),
)


class TestToken:
    @given(NAMES, TOKENS, RANDOMNESS)
    def test_round_trip(self, name: EntryName, token: Token, randomness: bytes) -> None:
        """Every token is readable, by the entry that it was issued for."""
        raw = lease.issue(name, token, randomness)

        assert lease.token_fault(raw) is None
        assert token == lease.parse(raw, name)

    @given(NAMES, NAMES, TOKENS, RANDOMNESS)
    def test_one_entry(
        self, name: EntryName, other: EntryName, token: Token, randomness: bytes
    ) -> None:
        """No other entry takes it, however alike the names are."""
        assume(name != other)

        with pytest.raises(PreconditionError):
            lease.parse(lease.issue(name, token, randomness), other)

    @given(st.binary(max_size=64))
    def test_any_bytes(self, raw: bytes) -> None:
        """Whatever is sent as a token is a fault or can be read; nothing breaks."""
        if lease.token_fault(raw) is None:
            with pytest.raises(PreconditionError):
                lease.parse(raw, EntryName("acme", "video", "k"))


class TestExtension:
    @given(
        TOKENS,
        st.integers(lease.MIN_LEASE_MS, lease.MAX_LEASE_MS),
        st.integers(0, 2 * lease.LONGEST_IN_ALL_MS),
    )
    def test_in_all(self, token: Token, wanted_ms: int, passed_ms: int) -> None:
        """However often it is extended, a lease ends within an hour, and never later than asked."""
        granted = lease.extension_ms(token, wanted_ms, token.grant_ms + passed_ms)

        assert granted <= wanted_ms
        assert passed_ms + granted <= lease.LONGEST_IN_ALL_MS
