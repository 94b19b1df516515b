"""What callers are told who are nobody: never which part of their credentials was wrong."""

from mainstay.errors import AuthenticationError, UnavailableError

MISSING = "CREDENTIALS_MISSING"
INVALID = "CREDENTIALS_INVALID"
EXPIRED = "CREDENTIALS_EXPIRED"
UNAVAILABLE = "IDENTITY_UNAVAILABLE"

_RETRY_AFTER = 1.0


def missing() -> AuthenticationError:
    """Return the error for a caller that shows nothing."""
    return AuthenticationError(
        "this call has no credentials; send `authorization: Bearer …`", reason=MISSING
    )


def invalid() -> AuthenticationError:
    """Return the error for credentials that are nobody's."""
    return AuthenticationError(
        "the credentials of this call are nobody's; check that they are whole, of this "
        "installation and not revoked",
        reason=INVALID,
    )


def expired() -> AuthenticationError:
    """Return the error for credentials that were somebody's."""
    return AuthenticationError(
        "the credentials of this call have expired; get new ones", reason=EXPIRED
    )


def unavailable() -> UnavailableError:
    """Return the error while it cannot be found out whose credentials are."""
    return UnavailableError(
        "whose credentials these are cannot be found out now; retry with backoff",
        reason=UNAVAILABLE,
        retry_after=_RETRY_AFTER,
    )
