"""The overrides in force, at hand in every process."""

from typing import NamedTuple

import structlog

from mainstay.errors import NotFoundError
from services.ratelimit.overrides import Override
from services.ratelimit.overriding import OverrideStore, StoredOverride
from services.ratelimit.policy import DAY, Policy
from services.ratelimit.policy_metrics import overrides_held, overrides_unreadable
from services.ratelimit.ports import NowUs, Policies
from shared.rpc.call import Tenant

FORGOTTEN_AFTER = DAY // 2
"""Time without word of changes after which all overrides are read anew.

One that was ended early is deleted from the database a day later, and nobody would hear of its end.
"""

SWEPT_FROM = 1_000
"""Overrides from which on those that have ended are looked for."""

_Key = tuple[Tenant, str, str]
_Stored = dict[_Key, StoredOverride]

log = structlog.get_logger()


class _Read(NamedTuple):
    """What an override means under a policy; None when nothing."""

    policy: Policy
    override: Override | None


class OverrideBook:
    """The `Overrides` of production: reads what was changed since it read last."""

    def __init__(self, store: OverrideStore, policies: Policies, now_us: NowUs) -> None:
        self._store = store
        self._policies = policies
        self._now_us = now_us
        self._stored: _Stored = {}
        self._read: dict[_Key, _Read] = {}
        self._revision = 0
        self._loaded_at = 0
        self._sweep_at = SWEPT_FROM

    def find(self, tenant: Tenant, rule: str, subject: str) -> Override | None:
        """Return the override of a subject on a rule, if it has one that has not ended."""
        if not self._stored:
            return None
        key = (tenant, rule, subject)
        stored = self._stored.get(key)
        if stored is None:
            return None
        if stored.expires_at <= self._now_us():
            del self._stored[key]
            self._read.pop(key, None)
            return None
        policy, read = self._policies.current, self._read.get(key)
        if read is None or read.policy is not policy:
            # What its limits mean changes with the policy: a rule may count in another way now.
            self._read[key] = read = _Read(policy, _meaning(stored, policy))
        return read.override

    def find_under(
        self, policy: Policy, tenant: Tenant, rule: str, subject: str
    ) -> Override | None:
        """Return what an override means under a policy that need not be in force."""
        stored = self._stored.get((tenant, rule, subject))
        if stored is None or stored.expires_at <= self._now_us():
            return None
        try:
            return stored.read(policy.rule(rule))
        except (NotFoundError, ValueError):
            return None  # as it will be left out, should the policy come into force

    async def load(self) -> None:
        """Take over what was changed; raises DatabaseError."""
        now = self._now_us()
        if now - self._loaded_at > FORGOTTEN_AFTER or not await self._follow(now):
            await self._load_all(now)
        self._loaded_at = now
        self._sweep(now)
        overrides_held.set(len(self._stored))

    def _sweep(self, now: int) -> None:
        """Let go of what has ended and was never looked for again, whenever there is twice as much.

        A tenant may have many at a time, and any number one after the other.
        """
        if len(self._stored) < self._sweep_at:
            return
        for key in [key for key, stored in self._stored.items() if stored.expires_at <= now]:
            del self._stored[key]
            self._read.pop(key, None)
        self._sweep_at = max(SWEPT_FROM, 2 * len(self._stored))

    async def _follow(self, now: int) -> bool:
        """Take over what was changed; False where that cannot be told."""
        while True:
            changed, newest = await self._store.changed_after(self._revision)
            if newest < self._revision:
                return False  # the database was restored from a copy of earlier times
            if not changed:
                return True
            for stored in changed:
                _take(self._stored, stored, now)
                self._read.pop(stored.key, None)
            self._revision = changed[-1].revision

    async def _load_all(self, now: int) -> None:
        """Read everything, while what was known before stays in force."""
        found: _Stored = {}
        revision = 0
        while changed := (await self._store.changed_after(revision)).overrides:
            for stored in changed:
                _take(found, stored, now)
            revision = changed[-1].revision
        self._stored, self._read, self._revision = found, {}, revision


def _take(known: _Stored, stored: StoredOverride, now: int) -> None:
    if stored.expires_at > now:
        known[stored.key] = stored
    else:
        known.pop(stored.key, None)


def _meaning(stored: StoredOverride, policy: Policy) -> Override | None:
    try:
        return stored.read(policy.rule(stored.key.rule))
    except (NotFoundError, ValueError) as error:
        overrides_unreadable.inc()
        log.warning(
            "override_left_out",
            tenant=stored.key.tenant,
            rule=stored.key.rule,
            subject=stored.key.subject,
            error=str(error),
        )
        return None
