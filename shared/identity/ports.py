"""What keeps API keys, as those who check and those who administer them see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from shared.identity.api_key import KeyId, NewKey
from shared.rpc.call import Tenant

MAX_KEYS = 10_000
"""Keys that count at the same time: every process holds them all."""
AT_ONCE = 200
"""Keys that are made of rows before calls have a turn: about a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKey:
    """What a process holds of a key.

    Attributes:
        key_id: The part that is no secret.
        digest: SHA-256 of the secret.
        tenant: The one it is good for, or `*`.
        scopes: As granted, with wildcards.
        expires: Until when it is good, in seconds since 1970 by the store's clock; infinite for
            ever.

    """

    key_id: KeyId
    digest: bytes = field(repr=False)
    tenant: Tenant
    scopes: tuple[str, ...]
    expires: float


class Revision(NamedTuple):
    """Which keys there are, and the store's time in seconds since 1970."""

    revision: str
    now: float


class KeyStore(Protocol):
    """Where services read keys. Each method raises DatabaseError when it is away."""

    async def start(self) -> None:
        """Connect; may be called again after a failure."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    async def revision(self) -> Revision:
        """Return what changes whenever a key does, and the time."""
        ...

    async def load(self) -> Sequence[HeldKey]:
        """Return the keys that count, `MAX_KEYS` at most."""
        ...

    async def note_uses(self, uses: Mapping[KeyId, float]) -> None:
        """Note when keys were used last, in seconds since 1970."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as people see it; without its secret, which nobody has but its owner.

    Attributes:
        key_id: The part that is no secret.
        name: What people call it.
        tenant: The one it is good for, or `*`.
        scopes: As granted, with wildcards.
        creator: Who made it.
        create_time: When.
        expire_time: Until when it is good; None for ever.
        last_use_time: When it was used last, to the minute or so; None for never.
        revoke_time: When it was revoked; None if it was not.
        revoker: Who did that.

    """

    key_id: KeyId
    name: str
    tenant: Tenant
    scopes: tuple[str, ...]
    creator: str
    create_time: datetime
    expire_time: datetime | None
    last_use_time: datetime | None
    revoke_time: datetime | None
    revoker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOrder:
    """A key to be made.

    Attributes:
        name: What people call it; 1 to 100 printable characters.
        tenant: The one it is good for, or `*`.
        scopes: What it may do; wildcards stay as they are.
        lifetime: How long it is good; None for ever.

    """

    name: str
    tenant: Tenant
    scopes: tuple[str, ...]
    lifetime: timedelta | None


class KeyAdministration(Protocol):
    """Where keys are made and revoked; each act is in the audit log with it, or neither is."""

    async def create(self, key: NewKey, order: KeyOrder, *, by: str) -> ApiKey:
        """Store a key; raises QuotaError when there are `MAX_KEYS`."""
        ...

    async def list(self, most: int) -> Sequence[ApiKey]:
        """Return keys, revoked ones too, the newest first."""
        ...

    async def revoke(self, key_id: KeyId, *, by: str) -> ApiKey:
        """Revoke a key, or leave one that is; raises NotFoundError."""
        ...
