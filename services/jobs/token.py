"""The token of an assignment: which job, and which turn at it.

A token is opaque to workers but no secret by itself: what makes a report genuine is that the
session it arrives on holds the lease that the token names.
"""

import struct
from dataclasses import dataclass
from uuid import UUID

from services.jobs.job import JobId

_LAYOUT = struct.Struct(">B16sq")
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One assignment of one job."""

    job_id: JobId
    epoch: int


def encode(token: Token) -> bytes:
    """Return the bytes that travel."""
    return _LAYOUT.pack(_VERSION, token.job_id.bytes, token.epoch)


def decode(raw: bytes) -> Token | None:
    """Return the token, or None when the bytes are not one of ours."""
    if len(raw) != _LAYOUT.size:
        return None
    version, job_id, epoch = _LAYOUT.unpack(raw)
    if version != _VERSION:
        return None
    return Token(job_id=JobId(UUID(bytes=job_id)), epoch=epoch)
