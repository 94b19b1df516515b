"""Keys that tests make, and the ways in which they are shown."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from mainstay.errors import AuthenticationError, MainstayError
from shared.identity.api_key import NewKey, mint, parse
from shared.identity.key_ring import KeyRing
from shared.identity.ports import ApiKey, KeyOrder
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.principal import Principal
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A key, and what is stored of it."""

    key: NewKey
    stored: ApiKey

    @property
    def header(self) -> str:
        """Return it as callers send it."""
        return f"Bearer {self.key.text}"


class Bench:
    """Makes and revokes keys."""

    def __init__(self, administration: PostgresKeyAdministration) -> None:
        self.administration = administration

    async def make(
        self,
        *scopes: str,
        name: str = "tester",
        tenant: str = "acme",
        lifetime: timedelta | None = None,
    ) -> Made:
        """Make a key; by default it may read the cache."""
        key = mint(secrets.choice)
        order = KeyOrder(
            name=name,
            tenant=Tenant(tenant),
            scopes=scopes or ("cache:read",),
            lifetime=lifetime,
        )
        return Made(key=key, stored=await self.administration.create(key, order, by="a test"))

    async def revoke(self, made: Made) -> None:
        """Revoke a key."""
        await self.administration.revoke(made.key.key_id, by="a test")


def unmade() -> str:
    """Return the header of a key that nobody stored."""
    return f"Bearer {mint(secrets.choice).text}"


def known(ring: KeyRing, header: str) -> Principal | None:
    """Show a key to a ring, as the authenticator does, without waiting."""
    principal = ring.recall(header)
    if principal is not None:
        return principal
    shown = parse(header.removeprefix("Bearer "))
    assert shown is not None
    return ring.known(shown, header)


async def find(ring: KeyRing, header: str) -> Principal:
    """Show a key to a ring and wait for the answer."""
    principal = known(ring, header)
    if principal is not None:
        return principal
    shown = parse(header.removeprefix("Bearer "))
    assert shown is not None
    return await ring.find(shown, header)


async def reason(ring: KeyRing, header: str) -> str:
    """Return why a key is refused; empty for one that is not."""
    try:
        await find(ring, header)
    except MainstayError as error:
        return error.reason
    return ""


def reason_now(ring: KeyRing, header: str) -> str | None:
    """Return why a key is refused without waiting; None where the store has to be asked."""
    try:
        return None if known(ring, header) is None else ""
    except AuthenticationError as error:
        return error.reason
