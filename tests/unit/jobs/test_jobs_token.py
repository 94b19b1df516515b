"""Tokens of assignments."""

from uuid import UUID

import pytest

from services.jobs.job import JobId
from services.jobs.token import Token, decode, encode

TOKEN = Token(job_id=JobId(UUID("018f0000-0000-7000-8000-000000000001")), epoch=7)


class TestToken:
    def test_round_trip(self) -> None:
        """What is encoded is decoded."""
        assert decode(encode(TOKEN)) == TOKEN

    def test_epochs_differ(self) -> None:
        """Every assignment has another token."""
        other = Token(job_id=TOKEN.job_id, epoch=8)

        assert encode(TOKEN) != encode(other)

    @pytest.mark.parametrize(
        "raw",
        [b"", b"x", b"garbage" * 9, encode(TOKEN)[:-1], encode(TOKEN) + b"\0", b"\2" + b"\0" * 24],
        ids=["empty", "short", "garbage", "cut", "longer", "another version"],
    )
    def test_not_ours(self, raw: bytes) -> None:
        """Bytes of another shape are no token."""
        assert decode(raw) is None
