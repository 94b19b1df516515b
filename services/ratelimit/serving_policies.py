"""The policy, its versions and previews, and the list of limits: parse, call, format."""

from dataclasses import replace

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit import parsing
from services.ratelimit.formatting import ALGORITHMS, FAILURE_MODES, MEASURES, timestamp
from services.ratelimit.listing import ListedRule, Listing
from services.ratelimit.paging import page_of, token_after
from services.ratelimit.policy_versions import PolicyVersion, PolicyVersions
from services.ratelimit.previewing import MAX_WINDOW, Previewed, Previewing
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

# Reading a megabyte of YAML takes seconds.
_READS_A_POLICY = MethodPolicy(default_deadline=15.0, max_deadline=60.0, operators=True)
# The text has the names and limits of tenants in it.
_SHOWS_POLICIES = MethodPolicy(default_deadline=5.0, max_deadline=30.0, operators=True)
METHODS = {
    "ListLimits": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "PutPolicy": replace(_READS_A_POLICY, roomy=frozenset({"text"})),
    "PreviewPolicy": MethodPolicy(
        default_deadline=30.0, max_deadline=120.0, roomy=frozenset({"text"})
    ),
    "GetPolicy": _SHOWS_POLICIES,
    "ListPolicyVersions": _SHOWS_POLICIES,
    "RollbackPolicy": _READS_A_POLICY,
}


class PolicyMethods:
    """The methods for operators who change limits."""

    listing: Listing
    policy_versions: PolicyVersions
    previewing: Previewing

    async def ListLimits(
        self, request: pb.ListLimitsRequest, context: object
    ) -> pb.ListLimitsResponse:
        page = page_of(request.page_size, request.page_token, str)
        listed = self.listing.page(current_call().tenant, page)
        return pb.ListLimitsResponse(
            rules=map(_rule, listed.rules),
            next_page_token=token_after(listed.rules[-1].rule.name) if listed.more else "",
            policy_version=listed.version,
            plans=(
                pb.PlanInfo(name=plan.name, features=sorted(plan.features)) for plan in listed.plans
            ),
        )

    async def PutPolicy(
        self, request: pb.PutPolicyRequest, context: object
    ) -> pb.PutPolicyResponse:
        if request.validate_only:
            return pb.PutPolicyResponse(warnings=await self.policy_versions.validate(request.text))
        call = current_call()
        version, warnings = await self.policy_versions.put(
            call.tenant,
            request.text,
            reason=request.reason,
            expected=request.expected_version if request.HasField("expected_version") else None,
            actor=parsing.actor(call),
        )
        return pb.PutPolicyResponse(version=_version(version, version.version), warnings=warnings)

    async def PreviewPolicy(
        self, request: pb.PreviewPolicyRequest, context: object
    ) -> pb.PreviewPolicyResponse:
        window = (
            parsing.microseconds(request.window, "window")
            if request.HasField("window")
            else MAX_WINDOW
        )
        tenant = current_call().tenant
        return _previewed(await self.previewing.preview(tenant, request.text, window=window))

    async def GetPolicy(
        self, request: pb.GetPolicyRequest, context: object
    ) -> pb.GetPolicyResponse:
        found = await self.policy_versions.find(
            request.version if request.HasField("version") else None
        )
        version = found.version
        in_force = version.version if version is not None and found.in_force else 0
        return pb.GetPolicyResponse(
            version=None if version is None else _version(version, in_force),
            text=found.text,
            problem=found.problem,
        )

    async def ListPolicyVersions(
        self, request: pb.ListPolicyVersionsRequest, context: object
    ) -> pb.ListPolicyVersionsResponse:
        page = page_of(request.page_size, request.page_token, int)
        versions, in_force, more = await self.policy_versions.page(page)
        return pb.ListPolicyVersionsResponse(
            versions=(_version(version, in_force) for version in versions),
            next_page_token=token_after(versions[-1].version) if more else "",
        )

    async def RollbackPolicy(
        self, request: pb.RollbackPolicyRequest, context: object
    ) -> pb.RollbackPolicyResponse:
        call = current_call()
        version = await self.policy_versions.roll_back(
            call.tenant, request.version, reason=request.reason, actor=parsing.actor(call)
        )
        return pb.RollbackPolicyResponse(version=_version(version, version.version))


def _version(version: PolicyVersion, in_force: int) -> pb.PolicyVersion:
    return pb.PolicyVersion(
        version=version.version,
        creator=version.creator,
        reason=version.reason,
        create_time=timestamp(version.created_at),
        in_force=version.version == in_force,
        digest=version.digest,
    )


def _rule(listed: ListedRule) -> pb.Rule:
    rule = listed.rule
    return pb.Rule(
        name=rule.name,
        algorithm=ALGORITHMS[rule.algorithm],
        measure=MEASURES[rule.measure],
        endpoints=rule.endpoints,
        plan_limits=(
            pb.PlanLimits(plan=each.plan, limits=each.written, tenant_specific=each.of_tenant)
            for each in listed.limits
        ),
        on_failure=FAILURE_MODES[rule.on_failure],
        shadow=rule.shadow,
        burst=max((limit.burst for limit in rule.default), default=0),
        time_zone=next((it.time_zone for it in rule.default if it.calendar is not None), ""),
    )


def _previewed(previewed: Previewed) -> pb.PreviewPolicyResponse:
    preview = previewed.preview
    return pb.PreviewPolicyResponse(
        rules=(
            pb.RulePreview(
                rule=each.rule,
                checks=each.checks,
                denied_before=each.denied_before,
                denied_after=each.denied_after,
            )
            for each in preview.rules
        ),
        subjects=(
            pb.SubjectPreview(
                subject=each.subject,
                rule=each.rule,
                denied_before=each.denied_before,
                denied_after=each.denied_after,
            )
            for each in preview.subjects
        ),
        replayed=preview.replayed,
        sampled=previewed.sampled,
        start_time=None if previewed.since is None else timestamp(previewed.since),
    )
