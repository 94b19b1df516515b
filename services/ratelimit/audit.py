"""Who changed what: administrative acts are written down in the transaction of the change."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
import structlog

from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

_QUERIES = load_queries("services.ratelimit", "sql/policies.sql")

log = structlog.get_logger()


class Actor(NamedTuple):
    """Who does something, and in which call."""

    principal: str
    request_id: str


async def write(
    connection: Connection,
    tenant: Tenant,
    actor: Actor,
    *,
    action: str,
    target: str,
    reason: str,
    details: Mapping[str, Any],
) -> None:
    """Write an act down, in the table and in the log.

    `action` is a verb such as put_policy, `target` what it was done to; `details` become JSON.
    Belongs into the transaction of the change, so that there is neither without the other.
    """
    await connection.execute(
        _QUERIES["write_audit"],
        tenant,
        actor.principal,
        actor.request_id,
        action,
        target,
        reason,
        orjson.dumps(details).decode(),
    )
    tell(tenant, actor, action=action, target=target, reason=reason)


def tell(tenant: Tenant, actor: Actor, *, action: str, target: str, reason: str) -> None:
    """Log an act, which is all that is kept of it where there is no database."""
    log.info(
        "audited",
        tenant=tenant,
        principal=actor.principal,
        request_id=actor.request_id,
        action=action,
        target=target,
        reason=reason,
    )
