"""The versions of the policy in PostgreSQL."""

from collections.abc import Mapping, Sequence
from socket import gethostname
from typing import Any

from services.ratelimit import audit
from services.ratelimit.audit import Actor
from services.ratelimit.database import Database
from services.ratelimit.paging import Page
from services.ratelimit.policy_versions import (
    InUse,
    PolicyDraft,
    PolicyVersion,
    StoredPolicy,
    digest_of,
)
from services.ratelimit.revisions import POLICY, bump
from shared.etags import check_etag, etag_of
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant

_QUERIES = load_queries("services.ratelimit", "sql/policies.sql")
_FILE = "file"
_CALL = "call"
_ABOVE_ALL = 2**63 - 1


class PostgresPolicies:
    """The `VersionStore` of production."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self) -> StoredPolicy | None:
        async def work(connection: Connection) -> StoredPolicy | None:
            return _stored(await connection.fetchrow(_QUERIES["newest_version"]))

        return await self._database.run(ALL_TENANTS, work)

    async def find(self, version: int) -> StoredPolicy | None:
        async def work(connection: Connection) -> StoredPolicy | None:
            return _stored(await connection.fetchrow(_QUERIES["find_version"], version))

        return await self._database.run(ALL_TENANTS, work)

    async def page(self, page: Page) -> Sequence[PolicyVersion]:
        below = page.after[0] if page.after else _ABOVE_ALL

        async def work(connection: Connection) -> Sequence[PolicyVersion]:
            rows = await connection.fetch(_QUERIES["list_versions"], below, page.size + 1)
            return [_version(row) for row in rows]

        return await self._database.run(ALL_TENANTS, work)

    async def put(self, tenant: Tenant, draft: PolicyDraft, actor: Actor) -> PolicyVersion:
        async def work(connection: Connection) -> PolicyVersion:
            await connection.execute(_QUERIES["lock_versions"])
            newest = await connection.fetchrow(_QUERIES["newest_version"])
            if newest is not None and _is_repeated(newest, draft, actor):
                return _version(newest)  # this very call, whose commit was not acknowledged
            _check_expected(draft, newest["version"] if newest is not None else 0)
            return await _add(connection, tenant, draft, actor, source=_CALL)

        return await self._database.run(tenant, work)

    async def in_use(self) -> InUse:
        async def work(connection: Connection) -> InUse:
            rules = await connection.fetch(_QUERIES["count_overrides_by_rule"])
            plans = await connection.fetch(_QUERIES["count_assignments_by_plan"])
            return InUse(dict(map(tuple, rules)), dict(map(tuple, plans)))

        return await self._database.run(ALL_TENANTS, work)

    async def offer_file(self, text: str) -> PolicyVersion | None:
        reason = f"the file on {gethostname()} says something else"
        draft = PolicyDraft(text, reason, None, "load_policy")
        actor = Actor(_FILE, "")

        async def work(connection: Connection) -> PolicyVersion | None:
            await connection.execute(_QUERIES["lock_versions"])
            known = await connection.fetchval(_QUERIES["newest_digest_of_file"])
            if known == digest_of(text):
                return None
            return await _add(connection, ALL_TENANTS, draft, actor, source=_FILE)

        return await self._database.run(ALL_TENANTS, work)


async def _add(
    connection: Connection, tenant: Tenant, draft: PolicyDraft, actor: Actor, *, source: str
) -> PolicyVersion:
    row = await connection.fetchrow(
        _QUERIES["add_version"],
        draft.text,
        digest_of(draft.text),
        source,
        actor.principal,
        draft.reason,
        actor.request_id,
    )
    version = _version(row)
    await audit.write(
        connection,
        tenant,
        actor,
        action=draft.action,
        target=f"version {version.version}",
        reason=draft.reason,
        details={"version": version.version, "digest": version.digest, **draft.details},
    )
    await bump(connection, POLICY)
    return version


def _is_repeated(newest: Mapping[str, Any], draft: PolicyDraft, actor: Actor) -> bool:
    made_by = (newest["creator"], newest["request_id"], newest["digest"])
    return made_by == (actor.principal, actor.request_id, digest_of(draft.text))


def _check_expected(draft: PolicyDraft, newest: int) -> None:
    check_etag(
        "" if draft.expected is None else etag_of(draft.expected),
        etag_of(newest),
        instead=f"version {newest} of the policy is in force, not {draft.expected}",
        metadata={"version": str(newest)},
    )


def _stored(row: Mapping[str, Any] | None) -> StoredPolicy | None:
    return None if row is None else StoredPolicy(_version(row), row["text"])


def _version(row: Mapping[str, Any]) -> PolicyVersion:
    return PolicyVersion(
        version=row["version"],
        creator=row["creator"],
        reason=row["reason"],
        created_at=row["created_at"],
        digest=row["digest"],
    )
