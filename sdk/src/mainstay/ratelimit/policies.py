"""The methods of the client for the policy and its versions."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mainstay.ratelimit import conversions
from mainstay.ratelimit.calls import ONCE, REPEATABLE, Calls
from mainstay.ratelimit.messages import build
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb

# Replaying a quarter of an hour of traffic takes its time.
_PREVIEW_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersion:
    """A version of the policy.

    Attributes:
        version: Counts up from 1.
        creator: Who put it; `file` for the file that operators edit.
        reason: Why.
        create_time: When, in UTC.
        in_force: Whether it is the one in force.
        digest: SHA-256 of the text, in hexadecimal.
        warnings: What it leaves without effect, in sentences, as told when it was put; empty
            elsewhere.

    """

    version: int
    creator: str
    reason: str
    create_time: datetime
    in_force: bool
    digest: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyText:
    """A policy as it was written.

    Attributes:
        text: The YAML.
        version: What is known of it; None for a file that is not stored.
        problem: What is wrong with the newest text that was found but not put in force; empty when
            nothing is.

    """

    text: str
    version: PolicyVersion | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePreview:
    """What a policy would do with the checks that a rule of it covers."""

    rule: str
    checks: int
    denied_before: int
    denied_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPreview:
    """What a policy would do with one subject, under one rule of it."""

    subject: str
    rule: str
    denied_before: int
    denied_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a policy would have done with recent traffic.

    Attributes:
        rules: By rule; those that change most first.
        subjects: Who would be denied more often, the most affected first; at most 50.
        replayed: Checks that were replayed.
        sampled: Share of the subjects whose checks were recorded, above 0 up to 1.
        start_time: From when the recording reaches back, in UTC; None when there is none.

    """

    rules: tuple[RulePreview, ...]
    subjects: tuple[SubjectPreview, ...]
    replayed: int
    sampled: float
    start_time: datetime | None


class PolicyVersions(Calls):
    """Puts policies in force, tries them out, and goes back."""

    async def put_policy(
        self, text: str, *, reason: str, expected_version: int | None = None
    ) -> PolicyVersion:
        """Put a new version in force, on every replica within two seconds; what was consumed stays.

        `text` is the whole policy as YAML, up to 1 MiB; `reason` has 1 to 500 characters. Raises
        ValidationError (`POLICY_REFUSED`) that names line and field of every mistake, and
        ConflictError when `expected_version` is not in force. Never repeated after an error. What
        the policy leaves without effect, such as overrides of rules that it does not have, is in
        `warnings` of the answer.
        """
        request = build(
            pb.PutPolicyRequest, text=text, reason=reason, expected_version=expected_version
        )
        response = await self._channel.unary(self._stub.PutPolicy, request, **ONCE)
        return _version(response.version, tuple(response.warnings))

    async def validate_policy(self, text: str) -> tuple[str, ...]:
        """Raise what `put_policy` would say against a text, or return its warnings; no changes."""
        request = build(pb.PutPolicyRequest, text=text, reason="only validated", validate_only=True)
        response = await self._channel.unary(self._stub.PutPolicy, request, **REPEATABLE)
        return tuple(response.warnings)

    async def preview_policy(self, text: str, *, window: timedelta | None = None) -> Preview:
        """Replay the traffic of the last `window` (up to 15 minutes, which is the default)."""
        request = build(
            pb.PreviewPolicyRequest, text=text, window=conversions.optional_duration(window)
        )
        response = await self._channel.unary(
            self._stub.PreviewPolicy, request, timeout=_PREVIEW_SECONDS, **REPEATABLE
        )
        return _preview(response)

    async def get_policy(self, version: int | None = None) -> PolicyText:
        """Return a version of the policy; the one in force when none is named."""
        request = build(pb.GetPolicyRequest, version=version)
        response = await self._channel.unary(self._stub.GetPolicy, request, **REPEATABLE)
        return PolicyText(
            text=response.text,
            version=_version(response.version) if response.HasField("version") else None,
            problem=response.problem,
        )

    async def policy_versions(self) -> AsyncGenerator[PolicyVersion, None]:
        """Yield the versions of the policy, the newest first; read in pages."""
        request = pb.ListPolicyVersionsRequest()
        while True:
            response = await self._channel.unary(
                self._stub.ListPolicyVersions, request, **REPEATABLE
            )
            for version in response.versions:
                yield _version(version)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def rollback_policy(self, version: int, *, reason: str) -> PolicyVersion:
        """Put the text of an earlier version in force again, as a new version.

        Raises NotFoundError for a version that there is not. Never repeated after an error.
        """
        request = build(pb.RollbackPolicyRequest, version=version, reason=reason)
        response = await self._channel.unary(self._stub.RollbackPolicy, request, **ONCE)
        return _version(response.version)


def _version(message: pb.PolicyVersion, warnings: tuple[str, ...] = ()) -> PolicyVersion:
    return PolicyVersion(
        version=message.version,
        creator=message.creator,
        reason=message.reason,
        create_time=conversions.utc(message.create_time),
        in_force=message.in_force,
        digest=message.digest,
        warnings=warnings,
    )


def _preview(response: pb.PreviewPolicyResponse) -> Preview:
    recorded = response.HasField("start_time")
    return Preview(
        rules=tuple(
            RulePreview(
                rule=each.rule,
                checks=each.checks,
                denied_before=each.denied_before,
                denied_after=each.denied_after,
            )
            for each in response.rules
        ),
        subjects=tuple(
            SubjectPreview(
                subject=each.subject,
                rule=each.rule,
                denied_before=each.denied_before,
                denied_after=each.denied_after,
            )
            for each in response.subjects
        ),
        replayed=response.replayed,
        sampled=response.sampled,
        start_time=conversions.utc(response.start_time) if recorded else None,
    )
