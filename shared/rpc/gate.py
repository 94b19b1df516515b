"""Who may come in: the credentials of a call become a principal, or the call ends.

    authorization, certificate ──known──► Principal       what was proved a moment ago, at once
                               ──find───► Principal       what has to be looked up
                               ─────────► AuthenticationError, UnavailableError

What a method asks of its callers is its scope. It is declared beside the contract: by the option
`mainstay.auth.v1.scope` in the proto, or for protos of others by `MethodPolicy.scope`.
"""

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf import descriptor_pool

from mainstay.auth.v1 import scope_pb2
from mainstay.errors import AuthorizationError
from shared.identity.principal import ANYBODY, Principal, Proof
from shared.identity.scopes import OPEN, SCOPES
from shared.rpc.call import ALL_TENANTS, Tenant
from shared.rpc.metadata import TENANT, check_tenant
from shared.rpc.policy import MethodPolicy

Context = grpc.aio.ServicerContext[Any, Any]


class Gate(Protocol):
    """Knows callers by what they bring: a header, or the certificate of their connection."""

    def known(self, authorization: str, context: Context) -> Principal | None:
        """Return who that is if it is known without waiting, None if it has to be looked up.

        Raises AuthenticationError for what is surely nobody's.
        """
        ...

    async def find(self, authorization: str, context: Context) -> Principal:
        """Return who that is; waits for a second at most.

        Raises AuthenticationError for nobody, UnavailableError when that cannot be found out now.
        """
        ...


class OpenGate:
    """Lets everybody in: on loopback, where callers do not authenticate."""

    def known(self, _authorization: str, _context: Context) -> Principal:
        """Return the one who may do everything."""
        return ANYBODY

    async def find(self, _authorization: str, _context: Context) -> Principal:
        """Return the same."""
        return ANYBODY


class AdminAct(NamedTuple):
    """An administrative act, which the audit log keeps.

    Attributes:
        act: What was done: the name of a method, or of a command such as `keys.create`.
        principal: Who did it.
        proof: How that was proved.
        tenant: In which tenant; `*` for all, empty where it was refused before that was known.
        request_id: Of the call; empty for commands.
        code: How it ended, a gRPC status code's name.
        reason: Why it failed; empty when it did not.

    """

    act: str
    principal: str
    proof: Proof
    tenant: str
    request_id: str
    code: str
    reason: str = ""


class Audit(Protocol):
    """Keeps administrative acts."""

    def note(self, act: AdminAct) -> None:
        """Keep one; never waits."""
        ...


def scope_of(method: str, policy: MethodPolicy) -> str:
    """Return the scope that `package.Service/Method` asks for; raises ValueError without one."""
    scope = policy.scope or _declared(method)
    if scope != OPEN and scope not in SCOPES:
        raise ValueError(
            f"{method}: {f'{scope!r} is no scope' if scope else 'no scope is declared'}; declare "
            "one of shared/identity/scopes.py by the option mainstay.auth.v1.scope of its proto, "
            "or by MethodPolicy.scope where the proto is another's"
        )
    return scope


def _declared(method: str) -> str:
    try:
        found = descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
    except KeyError:
        return ""
    declared: str = found.GetOptions().Extensions[scope_pb2.scope]
    return declared


def check_scope(principal: Principal, scope: str, method: str) -> None:
    """Raise AuthorizationError if the principal may not do what a method does."""
    if scope not in principal.scopes and scope != OPEN:
        raise AuthorizationError(
            f"{principal.name} may not call {method}, which needs the scope {scope}; ask for "
            "credentials that have it",
            reason="SCOPE_MISSING",
            metadata={"scope": scope, "principal": principal.name},
        )


def check_operator(principal: Principal, method: str) -> None:
    """Raise AuthorizationError if the principal is bound to a tenant: it would reach beyond it."""
    if principal.tenant != ALL_TENANTS:
        raise AuthorizationError(
            f"{method} is about what all tenants share, and {principal.name} is bound to "
            f"{principal.tenant}; ask with credentials for all tenants",
            reason="ALL_TENANTS_REQUIRED",
            metadata={"tenant": principal.tenant, "principal": principal.name},
        )


@lru_cache(maxsize=10_000)
def tenant_of(named: str, bound_to: Tenant, *, wildcard: bool) -> Tenant:
    """Return the tenant of a call: the one that is named, as far as its caller may name it."""
    if bound_to == ALL_TENANTS:
        return check_tenant(named, wildcard=wildcard)
    if named and named != bound_to:
        raise AuthorizationError(
            f"these credentials are of the tenant {bound_to} alone; leave {TENANT} out or name it",
            reason="TENANT_FORBIDDEN",
            metadata={"tenant": bound_to},
        )
    return bound_to
