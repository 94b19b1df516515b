"""Leases: what their tokens say, and what they may ask for."""

import pytest

from mainstay.errors import PreconditionError
from services.cache import lease
from services.cache.entry import MissReason
from services.cache.keys import EntryName
from services.cache.lease import Token

NAME = EntryName("acme", "video", "k")
TOKEN = Token(sequence=7, grant_ms=1_750_000_000_000, reason=MissReason.TAG)
RAW = lease.issue(NAME, TOKEN, bytes(range(15)))


class TestToken:
    def test_layout(self) -> None:
        """The layout is the one that replicas of every version share."""
        entry, sequence, grant, tag = (
            "56ba599bb3be98b4",
            "0700000000000000",
            "00dc207497010000",
            "06",
        )
        expected = f"4c{entry}{sequence}{grant}{tag}000102030405060708090a0b0c0d0e"

        assert expected == RAW.hex()

    def test_round_trip(self) -> None:
        """What was put into a token comes out of it."""
        assert TOKEN == lease.parse(RAW, NAME)

    def test_without_reason(self) -> None:
        """A token may be issued without a miss, for an early refresh."""
        token = TOKEN._replace(reason=None)

        assert token == lease.parse(lease.issue(NAME, token, bytes(15)), NAME)

    def test_reason_of_a_later_version(self) -> None:
        """A reason that is not known yet is no reason to refuse the token."""
        raw = RAW[:25] + b"\xff" + RAW[26:]

        assert TOKEN._replace(reason=None) == lease.parse(raw, NAME)

    @pytest.mark.parametrize(
        "raw", [b"", RAW[:-1], RAW + b"w", b"!" + RAW[1:], b"x" * 41, b"\x00" * 41]
    )
    def test_garbled(self, raw: bytes) -> None:
        """Bytes that never were a token are a fault of the field."""
        assert lease.token_fault(raw) is not None

    def test_intact(self) -> None:
        """A token as it was issued has no fault."""
        assert lease.token_fault(RAW) is None

    @pytest.mark.parametrize(
        "other",
        [
            NAME._replace(tenant="other"),
            NAME._replace(namespace="audio"),
            NAME._replace(key="k2"),
            EntryName("acme", "video", "k}:lease"),
            EntryName("acme:cache:video", "k", ""),
        ],
    )
    def test_of_another(self, other: EntryName) -> None:
        """A token is good for one entry of one tenant, and the refusal names the field."""
        with pytest.raises(PreconditionError) as refused:
            lease.parse(RAW, other)

        assert refused.value.reason == "LEASE_OF_ANOTHER"
        assert refused.value.metadata == {"subject": "lease_token"}


class TestBounds:
    @pytest.mark.parametrize("lease_ms", [10, 10_000, 600_000])
    def test_lease(self, lease_ms: int) -> None:
        """10 milliseconds to 10 minutes."""
        assert lease.lease_fault(lease_ms) is None

    @pytest.mark.parametrize("lease_ms", [-1, 0, 9, 600_001])
    def test_lease_beyond(self, lease_ms: int) -> None:
        """A millisecond less or more is refused."""
        assert lease.lease_fault(lease_ms) is not None

    @pytest.mark.parametrize(("wait_ms", "is_fine"), [(-1, False), (0, True), (60_000, True)])
    def test_wait(self, wait_ms: int, is_fine: bool) -> None:
        """Not at all is a wait, and so is a minute."""
        assert is_fine == (lease.wait_fault(wait_ms) is None)

    def test_wait_beyond(self) -> None:
        """More than a minute is refused."""
        assert lease.wait_fault(60_001) is not None

    @pytest.mark.parametrize(
        ("throttle_ms", "is_fine"), [(0, False), (1, True), (300_000, True), (300_001, False)]
    )
    def test_throttle(self, throttle_ms: int, is_fine: bool) -> None:
        """1 millisecond to 5 minutes."""
        assert is_fine == (lease.throttle_fault(throttle_ms) is None)

    @pytest.mark.parametrize(("length", "is_fine"), [(0, True), (500, True), (501, False)])
    def test_error(self, length: int, is_fine: bool) -> None:
        """Up to 500 characters, however many bytes those are."""
        assert is_fine == (lease.error_fault("é" * length) is None)

    @pytest.mark.parametrize(
        ("compute_ms", "is_fine"), [(-1, False), (0, True), (3_600_000, True), (3_600_001, False)]
    )
    def test_computation(self, compute_ms: int, is_fine: bool) -> None:
        """Up to an hour."""
        assert is_fine == (lease.compute_fault(compute_ms) is None)

    @pytest.mark.parametrize(
        ("passed_ms", "granted"),
        [(0, 600_000), (3_000_000, 600_000), (3_000_001, 599_999), (3_600_000, 0)],
    )
    def test_extension(self, passed_ms: int, granted: int) -> None:
        """An extension is cut where the hour since the grant is over."""
        assert granted == lease.extension_ms(TOKEN, 600_000, TOKEN.grant_ms + passed_ms)
