"""Who calls, once that has been proved."""

from dataclasses import dataclass
from typing import Literal

from shared.identity.scopes import SCOPES
from shared.rpc.call import ALL_TENANTS, ANONYMOUS, Tenant

Proof = Literal["off", "api-key", "jwt", "mtls", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller.

    Attributes:
        name: What logs and audits call it: the id of a key, the subject of a token, the name of a
            certificate.
        tenant: The one tenant whose data it may touch, or `*` for any.
        scopes: What it may do; wildcards are expanded.
        proof: How it was proved; `off` where callers do not authenticate.

    """

    name: str
    tenant: Tenant
    scopes: frozenset[str]
    proof: Proof


STRANGER = Principal(name=ANONYMOUS, tenant=ALL_TENANTS, scopes=frozenset(), proof="off")
"""Who has not said who he is: callers of methods that are open to everybody."""

ANYBODY = Principal(name=ANONYMOUS, tenant=ALL_TENANTS, scopes=SCOPES, proof="off")
"""Everybody, where callers do not authenticate: on loopback only."""
