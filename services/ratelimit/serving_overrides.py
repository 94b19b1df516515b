"""PutOverride, ListOverrides and DeleteOverride: parse, call, format."""

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit import parsing
from services.ratelimit.formatting import override_message
from services.ratelimit.overriding import OverrideDraft, OverrideKey, Overriding
from services.ratelimit.paging import page_of, token_after
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

_KEPT = MethodPolicy(default_deadline=5.0, max_deadline=30.0)
METHODS = {"PutOverride": _KEPT, "ListOverrides": _KEPT, "DeleteOverride": _KEPT}


class OverrideMethods:
    """The methods for exceptions from the policy."""

    overriding: Overriding

    async def PutOverride(
        self, request: pb.PutOverrideRequest, context: object
    ) -> pb.PutOverrideResponse:
        call, override = current_call(), request.override
        draft = OverrideDraft(
            OverrideKey(call.tenant, override.rule, override.subject),
            override.limits,
            parsing.microseconds(override.expire_time, "override.expire_time"),
            override.reason,
            override.etag,
        )
        put = await self.overriding.put(draft, parsing.actor(call))
        return pb.PutOverrideResponse(override=override_message(put))

    async def ListOverrides(
        self, request: pb.ListOverridesRequest, context: object
    ) -> pb.ListOverridesResponse:
        page = page_of(request.page_size, request.page_token, str, str)
        overrides, more = await self.overriding.page(
            current_call().tenant, page, subject=request.subject, rule=request.rule
        )
        last = overrides[-1] if more else None
        return pb.ListOverridesResponse(
            overrides=map(override_message, overrides),
            next_page_token="" if last is None else token_after(last.subject, last.rule),
        )

    async def DeleteOverride(
        self, request: pb.DeleteOverrideRequest, context: object
    ) -> pb.DeleteOverrideResponse:
        call = current_call()
        key = OverrideKey(call.tenant, request.rule, request.subject)
        deleted = await self.overriding.end(key, reason=request.reason, actor=parsing.actor(call))
        return pb.DeleteOverrideResponse(deleted=deleted)
