"""The use case: the policy and its versions, by call."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mainstay.errors import DatabaseError, NotFoundError, PreconditionError
from services.ratelimit.audit import Actor
from services.ratelimit.checks import reason_fault, refuse
from services.ratelimit.paging import Page
from services.ratelimit.policy import Policy
from services.ratelimit.policy_reading import PolicyReading, policy_text_fault
from shared.rpc.call import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersion:
    """What is known of a version.

    Attributes:
        version: Counts up from 1.
        creator: Who put it; `file` for the file that operators edit.
        reason: Why.
        created_at: When, in microseconds since 1970.
        digest: SHA-256 of the text, in hexadecimal.

    """

    version: int
    creator: str
    reason: str
    created_at: int
    digest: str


class StoredPolicy(NamedTuple):
    """A version and its text."""

    version: PolicyVersion
    text: str


class Found(NamedTuple):
    """A version as it is asked for.

    Attributes:
        version: What is known of it; None for a file that is not stored.
        text: Its text.
        in_force: Whether it is the one in force here.
        problem: What is wrong with the newest text, which is not in force; empty if nothing is.

    """

    version: PolicyVersion | None
    text: str
    in_force: bool
    problem: str


class PolicyDraft(NamedTuple):
    """A text that is to become a version.

    Attributes:
        text: The policy.
        reason: Why.
        expected: The version that must be in force; None for whichever is.
        action: What the audit calls it.
        details: What else the audit says.

    """

    text: str
    reason: str
    expected: int | None
    action: str
    details: Mapping[str, int] = {}


class InUse(NamedTuple):
    """What of a policy is in use, over all tenants: overrides by rule, subjects by plan."""

    overrides: Mapping[str, int]
    plans: Mapping[str, int]


class VersionStore(Protocol):
    """Keeps the versions. Every method raises DatabaseError, or PreconditionError without one."""

    async def newest(self) -> StoredPolicy | None:
        """Return the newest version; None before there is one."""
        ...

    async def find(self, version: int) -> StoredPolicy | None:
        """Return a version; None when there is no such one."""
        ...

    async def page(self, page: Page) -> Sequence[PolicyVersion]:
        """Return some versions, the newest first, and one more than the page if there is one."""
        ...

    async def put(self, tenant: Tenant, draft: PolicyDraft, actor: Actor) -> PolicyVersion:
        """Make a draft the newest version, audited; the same call makes it once.

        Raises ConflictError (`ETAG_MISMATCH`) when another version is the newest than expected.
        """
        ...

    async def in_use(self) -> InUse:
        """Return which rules have overrides and which plans have subjects."""
        ...

    async def offer_file(self, text: str) -> PolicyVersion | None:
        """Make the file's text the newest version; None when it is what the file said last."""
        ...


class InForce(Protocol):
    """The policy in force, and where it comes from."""

    @property
    def current(self) -> Policy:
        """Return the policy."""
        ...

    @property
    def found(self) -> Found:
        """Return its version and text."""
        ...

    async def changed(self) -> None:
        """Take over what was just put, here and soon on the other replicas."""
        ...


class PolicyVersions:
    """Puts, shows and lists the versions of the policy, and goes back to earlier ones."""

    def __init__(self, store: VersionStore, in_force: InForce, reading: PolicyReading) -> None:
        self._store = store
        self._in_force = in_force
        self._reading = reading

    async def put(
        self, tenant: Tenant, text: str, *, reason: str, expected: int | None, actor: Actor
    ) -> tuple[PolicyVersion, Sequence[str]]:
        """Put a text in force; returns its version, and what it leaves without effect.

        Raises ValidationError (`POLICY_REFUSED`) for a text with mistakes.
        """
        refuse({"text": policy_text_fault(text), "reason": reason_fault(reason, required=True)})
        policy = await self._reading.read(text)
        draft = PolicyDraft(text, reason, expected, "put_policy")
        version = await self._put(tenant, draft, actor)
        return version, await self._warnings(policy)

    async def validate(self, text: str) -> Sequence[str]:
        """Return what a text would leave without effect; raises as `put` for one with mistakes."""
        return await self._warnings(await self._reading.read(text))

    async def find(self, version: int | None) -> Found:
        """Return a version; the one in force when none is named."""
        in_force = self._in_force.found
        if version is None:
            return in_force
        refuse({"version": _version_fault(version)})
        stored = await self._store.find(version)
        if stored is None:
            raise _not_found(version)
        return Found(stored.version, stored.text, _is(in_force, version), in_force.problem)

    async def page(self, page: Page) -> tuple[Sequence[PolicyVersion], int, bool]:
        """Return some versions, the newest first, the one in force, and whether there are more."""
        versions = await self._store.page(page)
        return versions[: page.size], self._in_force.current.version, len(versions) > page.size

    async def roll_back(
        self, tenant: Tenant, version: int, *, reason: str, actor: Actor
    ) -> PolicyVersion:
        """Put the text of an earlier version in force again, as a new one."""
        refuse({"version": _version_fault(version), "reason": reason_fault(reason, required=True)})
        stored = await self._store.find(version)
        if stored is None:
            raise _not_found(version)
        await self._reading.read(stored.text)
        draft = PolicyDraft(stored.text, reason, None, "roll_back_policy", {"to_version": version})
        return await self._put(tenant, draft, actor)

    async def _warnings(self, policy: Policy) -> Sequence[str]:
        try:
            return warnings_of(policy, await self._store.in_use())
        except (DatabaseError, PreconditionError):
            return ()  # what was put is put, and a text is as valid without

    async def _put(self, tenant: Tenant, draft: PolicyDraft, actor: Actor) -> PolicyVersion:
        version = await self._store.put(tenant, draft, actor)
        await self._in_force.changed()
        return version


def warnings_of(policy: Policy, in_use: InUse) -> Sequence[str]:
    """Return what a policy leaves without effect, in sentences."""
    rules = {rule.name for rule in policy.rules}
    return [
        *(
            f"rule {rule} is not in this policy; overrides on it: {count}"
            for rule, count in sorted(in_use.overrides.items())
            if rule not in rules
        ),
        *(
            f"plan {plan} is not in this policy; subjects on it, now on none: {count}"
            for plan, count in sorted(in_use.plans.items())
            if not policy.knows_plan(plan)
        ),
    ]


def digest_of(text: str) -> str:
    """Return what tells a text from others."""
    return hashlib.sha256(text.encode()).hexdigest()


def _version_fault(version: int) -> str | None:
    return None if version >= 1 else f"is {version}; versions count from 1"


def _is(in_force: Found, version: int) -> bool:
    return in_force.version is not None and in_force.version.version == version


def _not_found(version: int) -> NotFoundError:
    return NotFoundError(
        f"the policy has no version {version}; ListPolicyVersions names them all",
        resource_type="policy version",
        resource_name=str(version),
        reason="POLICY_VERSION_NOT_FOUND",
    )
