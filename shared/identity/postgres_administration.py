"""API keys in PostgreSQL, as `mainstay keys` makes and revokes them."""

from collections.abc import Sequence
from typing import Any

from mainstay.errors import NotFoundError, QuotaError
from shared.identity.api_key import PREFIX, KeyId, NewKey
from shared.identity.ports import MAX_KEYS, ApiKey, KeyOrder
from shared.identity.postgres_keys import QUERIES
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import ALL_TENANTS, Tenant


class PostgresKeyAdministration:
    """The `KeyAdministration`; its pool is another's to start and close.

    Nothing is tried again: a key whose commit was not acknowledged would be made twice.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def create(self, key: NewKey, order: KeyOrder, *, by: str) -> ApiKey:
        """Store a key; raises QuotaError when there are `MAX_KEYS`."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            if await connection.fetchval(QUERIES["count_keys"]) >= MAX_KEYS:
                raise QuotaError(
                    f"there are {MAX_KEYS:,} API keys, and every process holds them all; revoke "
                    "some, or give callers tokens (MAINSTAY_AUTH=jwt)",
                    violations={"api_keys": f"at most {MAX_KEYS:,} that are not revoked"},
                )
            row = await connection.fetchrow(
                QUERIES["insert_key"],
                key.key_id,
                key.digest,
                order.name,
                order.tenant,
                [*order.scopes],
                by,
                order.lifetime,
            )
            await _note(connection, by, order.tenant, "keys.create", key.key_id)
        return _api_key(row)

    async def list(self, most: int) -> Sequence[ApiKey]:
        """Return keys, revoked ones too, the newest first."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            rows = await connection.fetch(QUERIES["list_keys"], most)
        return tuple(map(_api_key, rows))

    async def revoke(self, key_id: KeyId, *, by: str) -> ApiKey:
        """Revoke a key, or leave one that is; raises NotFoundError."""
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            row = await connection.fetchrow(QUERIES["revoke_key"], key_id, by)
            if row is None:
                raise NotFoundError(
                    f"there is no API key {PREFIX}{key_id}; `mainstay keys list` names them all",
                    resource_type="api key",
                    resource_name=f"{PREFIX}{key_id}",
                )
            if not row["again"]:
                await _note(connection, by, row["tenant"], "keys.revoke", key_id)
        return _api_key(row)


async def _note(connection: Connection, by: str, tenant: str, act: str, key_id: KeyId) -> None:
    await connection.execute(QUERIES["insert_act"], by, tenant, act, f"{PREFIX}{key_id}")


def _api_key(row: Any) -> ApiKey:
    return ApiKey(
        key_id=KeyId(row["key_id"]),
        name=row["name"],
        tenant=Tenant(row["tenant"]),
        scopes=tuple(row["scopes"]),
        creator=row["creator"],
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        last_use_time=row["last_use_time"],
        revoke_time=row["revoke_time"],
        revoker=row["revoker"],
    )
