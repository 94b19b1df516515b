"""Check, CheckBatch, Peek, Enforce, Refund, Reset and Explain: parse, call, format."""

from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit import parsing
from services.ratelimit.act import Act, mistake_in
from services.ratelimit.checks import reason_fault, refuse, request_id_fault
from services.ratelimit.enforcing import raise_denied
from services.ratelimit.explaining import Explaining, RuleExplanation
from services.ratelimit.formatting import (
    FAILURE_MODES,
    LIMIT_SOURCES,
    PLAN_SOURCES,
    decision_message,
    limit_state_message,
    override_message,
)
from services.ratelimit.limiter import Limiter
from services.ratelimit.resetting import Resetting
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

# A verdict that comes late is worth nothing: the request it was for waits.
_QUICK = MethodPolicy(default_deadline=1.0, max_deadline=10.0)
METHODS = {
    "Check": _QUICK,
    "CheckBatch": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "Peek": _QUICK,
    "Enforce": _QUICK,
    "Refund": _QUICK,
    "Explain": _QUICK,
    "Reset": MethodPolicy(default_deadline=5.0, max_deadline=30.0),
}


class CheckMethods:
    """The methods that decide, and what takes a decision back."""

    limiter: Limiter
    explaining: Explaining
    resetting: Resetting

    async def Check(self, request: pb.CheckRequest, context: object) -> pb.CheckResponse:
        acts = parsing.acts_together(request)
        decision = await self.limiter.check(current_call().tenant, acts)
        return pb.CheckResponse(decision=decision_message(decision))

    async def CheckBatch(
        self, request: pb.CheckBatchRequest, context: object
    ) -> pb.CheckBatchResponse:
        acts = parsing.batch(request)
        decisions = await self.limiter.check_each(current_call().tenant, acts)
        headers = request.headers
        return pb.CheckBatchResponse(
            decisions=[decision_message(decision, headers=headers) for decision in decisions]
        )

    async def Peek(self, request: pb.PeekRequest, context: object) -> pb.PeekResponse:
        acts = parsing.acts_together(request)
        decision = await self.limiter.peek(current_call().tenant, acts)
        return pb.PeekResponse(decision=decision_message(decision))

    async def Enforce(self, request: pb.EnforceRequest, context: object) -> pb.EnforceResponse:
        acts = parsing.acts_together(request)
        decision = await self.limiter.check(current_call().tenant, acts)
        raise_denied(decision, acts[decision.act].subject)
        return pb.EnforceResponse(decision=decision_message(decision))

    async def Refund(self, request: pb.RefundRequest, context: object) -> pb.RefundResponse:
        act = parsing.act(request)
        refuse({"request_id": request_id_fault(request.request_id)})
        moment = (
            parsing.microseconds(request.admit_time, "admit_time")
            if request.HasField("admit_time")
            else None
        )
        states, refunded = await self.limiter.refund(
            current_call().tenant, act, admitted_at=moment, once=request.request_id
        )
        return pb.RefundResponse(
            refunded=max(refunded.amounts, default=0),
            limits=map(limit_state_message, states),
            repeated_request=refunded.repeated,
        )

    async def Reset(self, request: pb.ResetRequest, context: object) -> pb.ResetResponse:
        refuse(
            {
                "subject": mistake_in(request.subject),
                "reason": reason_fault(request.reason, required=False),
                # An empty one must not pass for everything.
                "target": None
                if request.endpoint or request.rule or request.everything
                else "is missing; give an endpoint, a rule, or everything",
            }
        )
        call = current_call()
        rules = await self.resetting.reset(
            call.tenant,
            request.subject,
            endpoint=request.endpoint,
            rule=request.rule,
            reason=request.reason,
            actor=parsing.actor(call),
        )
        return pb.ResetResponse(rules=rules)

    async def Explain(self, request: pb.ExplainRequest, context: object) -> pb.ExplainResponse:
        act = Act.of(request.subject, request.endpoint, request.plan, 1)
        explanation = await self.explaining.explain(current_call().tenant, act)
        return pb.ExplainResponse(
            plan=explanation.standing.plan,
            plan_source=PLAN_SOURCES[explanation.standing.source],
            rules=map(_rule, explanation.rules),
            policy_version=explanation.policy_version,
            degraded=explanation.degraded,
        )


def _rule(explained: RuleExplanation) -> pb.RuleExplanation:
    match, override = explained.match, explained.override
    return pb.RuleExplanation(
        rule=match.rule.name,
        matched=match.pattern,
        also_matching=explained.also_matching,
        limit_source=LIMIT_SOURCES[match.source],
        override=None if override is None else override_message(override),
        limits=map(limit_state_message, explained.states),
        on_failure=FAILURE_MODES[match.rule.on_failure],
    )
