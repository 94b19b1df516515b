"""The overrides in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from mainstay.errors import QuotaError
from services.ratelimit import audit
from services.ratelimit.audit import Actor
from services.ratelimit.database import Database
from services.ratelimit.overriding import (
    MAX_OVERRIDES,
    OverrideChanges,
    OverrideDraft,
    OverrideKey,
    StoredOverride,
)
from services.ratelimit.paging import Page
from services.ratelimit.revisions import OVERRIDES, bump
from shared.etags import check_etag, etag_of
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant

READ_AT_ONCE = 1_000
"""More would hold up calls for longer than some milliseconds."""

_QUERIES = load_queries("services.ratelimit", "sql/policies.sql")


class PostgresOverrides:
    """The `OverrideStore` of production."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, draft: OverrideDraft, actor: Actor) -> StoredOverride:
        tenant = draft.key.tenant

        async def work(connection: Connection) -> StoredOverride:
            # First, because it lets one change of overrides happen at a time: counting is exact.
            revision = await bump(connection, OVERRIDES)
            known = await _find(connection, draft.key)
            if known is not None and _is_repeated(known, draft, actor):
                return _stored(known)  # this very call, whose commit was not acknowledged
            _check_etag(draft, known)
            if known is None:
                await _check_quota(connection, tenant)
            row = await connection.fetchrow(
                _QUERIES["put_override"],
                tenant,
                draft.key.subject,
                draft.key.rule,
                draft.written,
                draft.expires_at,
                draft.reason,
                actor.principal,
                actor.request_id,
                revision,
            )
            details = {"limits": draft.written, "expires_at": draft.expires_at}
            await _audit(connection, "put_override", draft.key, draft.reason, actor, details)
            return _stored(row)

        return await self._database.run(tenant, work)

    async def end(self, key: OverrideKey, reason: str, actor: Actor) -> bool:
        tenant, rule, subject = key

        async def work(connection: Connection) -> bool:
            if await _find(connection, key) is None:
                # Or was it this very call, whose commit or answer got lost?
                return await _ended_by(connection, key, actor)
            revision = await bump(connection, OVERRIDES)
            limits = await connection.fetchval(
                _QUERIES["end_override"], tenant, subject, rule, revision, actor.request_id
            )
            if limits is None:
                return False  # somebody else was faster
            details = {"limits": limits}
            await _audit(connection, "delete_override", key, reason, actor, details)
            return True

        return await self._database.run(tenant, work)

    async def page(
        self, tenant: Tenant, page: Page, *, subject: str, rule: str
    ) -> Sequence[StoredOverride]:
        after = page.after or ("", "")

        async def work(connection: Connection) -> Sequence[StoredOverride]:
            rows = await connection.fetch(
                _QUERIES["list_overrides"], tenant, subject, rule, *after, page.size + 1
            )
            return [_stored(row) for row in rows]

        return await self._database.run(tenant, work)

    async def changed_after(self, revision: int) -> OverrideChanges:
        """Return some of what was changed after a revision, of all tenants, in that order.

        Those that have ended are among them. Raises DatabaseError.
        """

        async def work(connection: Connection) -> OverrideChanges:
            newest = await connection.fetchval(_QUERIES["overrides_revision"])
            rows = await connection.fetch(_QUERIES["read_overrides"], revision, READ_AT_ONCE)
            return OverrideChanges([_stored(row) for row in rows], newest or 0)

        return await self._database.run(ALL_TENANTS, work)


async def _find(connection: Connection, key: OverrideKey) -> Mapping[str, Any] | None:
    tenant, rule, subject = key
    row: Mapping[str, Any] | None = await connection.fetchrow(
        _QUERIES["find_override"], tenant, subject, rule
    )
    return row


async def _ended_by(connection: Connection, key: OverrideKey, actor: Actor) -> bool:
    tenant, rule, subject = key
    arguments = (tenant, subject, rule, actor.request_id)
    return bool(await connection.fetchval(_QUERIES["ended_by"], *arguments))


def _is_repeated(known: Mapping[str, Any], draft: OverrideDraft, actor: Actor) -> bool:
    said = (known["limits"], known["expires_at"], known["reason"], known["creator"])
    wanted = (draft.written, draft.expires_at, draft.reason, actor.principal)
    return known["request_id"] == actor.request_id and said == wanted


def _check_etag(draft: OverrideDraft, known: Mapping[str, Any] | None) -> None:
    current = "" if known is None else etag_of(known["revision"])
    said = f"has the etag {current}" if current else "is gone"
    check_etag(
        draft.etag,
        current,
        instead=f"the override of {draft.key.subject} on {draft.key.rule} {said}",
    )


async def _check_quota(connection: Connection, tenant: Tenant) -> None:
    if (
        await connection.fetchval(_QUERIES["count_overrides"], tenant, MAX_OVERRIDES)
        < MAX_OVERRIDES
    ):
        return
    quota = f"overrides of the tenant {tenant}"
    what = f"there are {MAX_OVERRIDES:,} already; delete some, or give the subjects a plan"
    raise QuotaError(f"the quota {quota} is used up: {what}", violations={quota: what})


async def _audit(
    connection: Connection,
    action: str,
    key: OverrideKey,
    reason: str,
    actor: Actor,
    details: Mapping[str, Any],
) -> None:
    await audit.write(
        connection,
        key.tenant,
        actor,
        action=action,
        target=key.subject,
        reason=reason,
        details={"rule": key.rule, **details},
    )


def _stored(row: Mapping[str, Any]) -> StoredOverride:
    return StoredOverride(
        key=OverrideKey(Tenant(row["tenant"]), row["rule"], row["subject"]),
        written=row["limits"],
        expires_at=row["expires_at"],
        reason=row["reason"],
        creator=row["creator"],
        created_at=row["created_at"],
        revision=row["revision"],
    )
