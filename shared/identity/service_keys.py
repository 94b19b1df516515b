"""The secrets by which the services of the suite know each other."""

import hmac
from collections.abc import Sequence
from hashlib import sha256

from shared.identity.grants import SUITE
from shared.identity.principal import Principal
from shared.rpc.call import ALL_TENANTS

SERVICE = Principal(
    name=SUITE,
    tenant=ALL_TENANTS,
    scopes=frozenset(
        {
            "cache:read",
            "cache:write",
            "ratelimit:check",
            "jobs:read",
            "jobs:work",  # the rate limits follow memberships
            "health:read",
            "operations:read",
        }
    ),
    proof="service",
)
"""A service of the suite: what they need of each other, and nothing administrative."""


class ServiceKeys:
    """Knows the secrets; while they are changed several are good."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._digests = tuple(sha256(secret.encode()).digest() for secret in secrets)

    def known(self, token: str) -> Principal | None:
        """Return the suite if the token is one of the secrets, after as long for any token."""
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        # Of digests all are as long, and none is left out once one is found.
        found = [hmac.compare_digest(digest, each) for each in self._digests]
        return SERVICE if any(found) else None
