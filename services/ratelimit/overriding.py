"""The use case: limits of one subject's own, until a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.ratelimit.act import mistake_in
from services.ratelimit.audit import Actor
from services.ratelimit.checks import MAX_NAME, reason_fault, refuse, text_fault
from services.ratelimit.limit_grammar import LimitGrammar
from services.ratelimit.overrides import Override
from services.ratelimit.paging import Page
from services.ratelimit.policy import DAY, UNLIMITED, Rule
from services.ratelimit.ports import NowUs, Policies
from services.ratelimit.revisions import OVERRIDES
from shared.etags import etag_of
from shared.rpc.call import Tenant

MAX_OVERRIDES = 10_000
"""Of one tenant: every process knows them all."""
MAX_LIFETIME = 366 * DAY

_MAX_LIMITS_CHARACTERS = 200


class OverrideKey(NamedTuple):
    """Whose override on which rule."""

    tenant: Tenant
    rule: str
    subject: str


class OverrideDraft(NamedTuple):
    """What is to hold.

    Attributes:
        key: For whom, and on which rule.
        written: The limits, as the policy would write them.
        expires_at: Until when, in microseconds since 1970.
        reason: Why.
        etag: Of the override that must be there; empty for whatever is.

    """

    key: OverrideKey
    written: str
    expires_at: int
    reason: str
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOverride:
    """An override as it is kept: what its limits mean is for the policy to say."""

    key: OverrideKey
    written: str
    expires_at: int
    reason: str
    creator: str
    created_at: int
    revision: int

    def read(self, rule: Rule | None) -> Override:
        """Return what it means under a rule of its name; without one its limits mean nothing.

        Raises ValueError where the limits do not fit the rule, as after its algorithm has changed.
        """
        return Override(
            tenant=self.key.tenant,
            rule=self.key.rule,
            subject=self.key.subject,
            limits=UNLIMITED if rule is None else LimitGrammar.of(rule).read(self.written),
            written=self.written,
            expires_at=self.expires_at,
            reason=self.reason,
            creator=self.creator,
            created_at=self.created_at,
            etag=etag_of(self.revision),
        )


class OverrideChanges(NamedTuple):
    """Some overrides that were changed, in the order of their revisions, and the newest of all."""

    overrides: Sequence[StoredOverride]
    revision: int


class OverrideStore(Protocol):
    """Keeps overrides. Every method raises DatabaseError, or PreconditionError without one."""

    async def put(self, draft: OverrideDraft, actor: Actor) -> StoredOverride:
        """Put an override in the place of the one before, audited.

        Raises ConflictError (`ETAG_MISMATCH`), and QuotaError beyond MAX_OVERRIDES.
        """
        ...

    async def end(self, key: OverrideKey, reason: str, actor: Actor) -> bool:
        """End an override, audited; False when there is none."""
        ...

    async def page(
        self, tenant: Tenant, page: Page, *, subject: str, rule: str
    ) -> Sequence[StoredOverride]:
        """Return those in force by subject and rule, and one more than the page if there is one."""
        ...

    async def changed_after(self, revision: int) -> OverrideChanges:
        """Return some of what was changed after a revision, of all tenants; ended ones too."""
        ...


class Announcement(Protocol):
    """Tells of changes."""

    async def announce(self, name: str) -> None:
        """Take a change over here, and tell the other replicas."""
        ...


class Overriding:
    """Puts, lists and ends overrides."""

    def __init__(
        self,
        *,
        policies: Policies,
        store: OverrideStore,
        announcement: Announcement,
        now_us: NowUs,
    ) -> None:
        self._policies = policies
        self._store = store
        self._announcement = announcement
        self._now_us = now_us

    async def put(self, draft: OverrideDraft, actor: Actor) -> Override:
        """Put an override; raises NotFoundError for a rule that there is not."""
        _, name, subject = draft.key
        refuse(
            {
                "override.subject": mistake_in(subject),
                "override.rule": None if name else "is empty; ListLimits names the rules",
                "override.limits": text_fault(draft.written, _MAX_LIMITS_CHARACTERS),
                "override.expire_time": self._end_fault(draft.expires_at),
                "override.reason": reason_fault(draft.reason, required=True),
            }
        )
        rule = self._policies.current.rule(name)
        try:
            LimitGrammar.of(rule).read(draft.written)
        except ValueError as fault:
            refuse({"override.limits": str(fault)})
        stored = await self._store.put(draft, actor)
        await self._announcement.announce(OVERRIDES)
        return stored.read(rule)

    async def end(self, key: OverrideKey, *, reason: str, actor: Actor) -> bool:
        """End an override; False when there was none."""
        refuse(
            {
                "subject": mistake_in(key.subject),
                "rule": text_fault(key.rule, MAX_NAME),
                "reason": reason_fault(reason, required=False),
            }
        )
        ended = await self._store.end(key, reason, actor)
        if ended:
            await self._announcement.announce(OVERRIDES)
        return ended

    async def page(
        self, tenant: Tenant, page: Page, *, subject: str, rule: str
    ) -> tuple[Sequence[Override], bool]:
        """Return some overrides by subject and rule, and whether there are more."""
        refuse(
            {
                "subject": mistake_in(subject) if subject else None,
                "rule": text_fault(rule, MAX_NAME, required=False),
            }
        )
        stored = await self._store.page(tenant, page, subject=subject, rule=rule)
        return [each.read(None) for each in stored[: page.size]], len(stored) > page.size

    def _end_fault(self, expires_at: int) -> str | None:
        left = expires_at - self._now_us()
        if not expires_at:
            return f"is missing; give a time at most {MAX_LIFETIME // DAY} days from now"
        if left <= 0:
            return "is over; give a time to come"
        if left > MAX_LIFETIME:
            return f"is too far away; give a time at most {MAX_LIFETIME // DAY} days from now"
        return None
