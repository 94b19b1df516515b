"""The use case: the policy and its versions, by call."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mainstay.errors import NotFoundError, ValidationError
from services.ratelimit.audit import Actor
from services.ratelimit.checks import reason_fault, refuse
from services.ratelimit.paging import Page
from services.ratelimit.policy import Policy
from services.ratelimit.policy_file import MAX_TEXT_BYTES, Mistakes, read_policy
from shared.rpc.call import Tenant

# Errors travel in headers, which are short.
_MAX_MISTAKES = 20
_MAX_MISTAKE_CHARACTERS = 200


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

    def __init__(self, store: VersionStore, in_force: InForce) -> None:
        self._store = store
        self._in_force = in_force

    async def put(
        self, tenant: Tenant, text: str, *, reason: str, expected: int | None, actor: Actor
    ) -> PolicyVersion:
        """Put a text in force; raises ValidationError (`POLICY_REFUSED`) for one with mistakes."""
        refuse({"text": _text_fault(text), "reason": reason_fault(reason, required=True)})
        await _check(text)
        draft = PolicyDraft(text, reason, expected, "put_policy")
        return await self._put(tenant, draft, actor)

    async def validate(self, text: str) -> None:
        """Raise as `put` would for a text with mistakes."""
        await checked_policy(text)

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
        await _check(stored.text)
        draft = PolicyDraft(stored.text, reason, None, "roll_back_policy", {"to_version": version})
        return await self._put(tenant, draft, actor)

    async def _put(self, tenant: Tenant, draft: PolicyDraft, actor: Actor) -> PolicyVersion:
        version = await self._store.put(tenant, draft, actor)
        await self._in_force.changed()
        return version


async def checked_policy(text: str) -> Policy:
    """Return the policy that a caller wrote; raises ValidationError for one with mistakes."""
    refuse({"text": _text_fault(text)})
    return await _check(text)


def digest_of(text: str) -> str:
    """Return what tells a text from others."""
    return hashlib.sha256(text.encode()).hexdigest()


async def _check(text: str) -> Policy:
    # A thread, because reading a megabyte of YAML takes seconds.
    policy = await asyncio.to_thread(read_policy, text)
    if isinstance(policy, Policy):
        return policy
    raise _refused(policy)


def _refused(mistakes: Mistakes) -> ValidationError:
    fields: dict[str, str] = {}
    for mistake in mistakes[:_MAX_MISTAKES]:
        said = f"line {mistake.line}: {mistake.what}"[:_MAX_MISTAKE_CHARACTERS]
        field = mistake.field[:_MAX_MISTAKE_CHARACTERS] or "text"
        fields[field] = f"{fields[field]}; {said}" if field in fields else said
    more = len(mistakes) - _MAX_MISTAKES
    sentence = "\n  ".join(
        ["the policy is refused:", *(f"{field} {what}" for field, what in fields.items())]
    )
    return ValidationError(
        f"{sentence}\n  and {more:,} more mistakes" if more > 0 else sentence,
        fields=fields,
        reason="POLICY_REFUSED",
    )


def _text_fault(text: str) -> str | None:
    size = len(text.encode())
    if 1 <= size <= MAX_TEXT_BYTES and "\0" not in text:
        return None
    return f"has {size:,} bytes, or a NUL among them; give 1 to {MAX_TEXT_BYTES:,} bytes of YAML"


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
