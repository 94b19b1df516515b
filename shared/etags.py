"""Optimistic locking: a change says which state it was decided on, and is refused on any other.

An etag is a revision as text. Who compares it does so in the transaction of the change, with the
row or its table locked: between the comparison and the change there is nobody else.
"""

from collections.abc import Mapping

from mainstay.errors import ConflictError

MISMATCH = "ETAG_MISMATCH"


def etag_of(revision: int) -> str:
    """Return the etag of a revision."""
    return str(revision)


def check_etag(
    expected: str, current: str, *, instead: str, metadata: Mapping[str, str] | None = None
) -> None:
    """Raise ConflictError (`ETAG_MISMATCH`) unless a thing is as it was expected.

    An empty `expected` expects nothing, an empty `current` is that of what is not there. `instead`
    begins the message with what there is; `metadata` replaces the current etag as the error's.
    """
    if not expected or expected == current:
        return
    raise ConflictError(
        f"{instead}: somebody else changed it; read it again and repeat the change",
        reason=MISMATCH,
        metadata=dict(metadata or {"etag": current}),
    )
