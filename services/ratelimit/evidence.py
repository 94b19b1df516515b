"""What is kept of every decision: numbers of all, and of denials who, what, when and why.

A check that is allowed costs one look into a dictionary and an addition. All the rest is done in
the background, every second, for all checks since.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from services.ratelimit import metrics
from services.ratelimit.act import Act
from services.ratelimit.decision import Decision, LimitState, denial_reason
from services.ratelimit.ports import Policies
from services.ratelimit.tallies import Counted, Tallies, Tally
from services.ratelimit.top_subjects import Subject
from services.ratelimit.violations import Offence, Violation, Violations
from shared.rpc.call import Tenant, current_call

INTERVAL = 1.0
"""Seconds for which denials of one kind are one violation."""


class EvidenceKeeper(Protocol):
    """Takes evidence over without waiting, and writes it where it can be asked for."""

    def add(self, counted: Sequence[Counted], violations: Sequence[Violation]) -> None:
        """Keep what was counted and what was denied since the last time."""
        ...

    async def write_once(self) -> None:
        """Write what is kept; raises MainstayError, and loses nothing then."""
        ...


class LimitedSubjects(Protocol):
    """Counts who was limited; neither waits nor fails."""

    def limited(self, subject: Subject) -> bool:
        """Count a denial; False when there is no room for it."""
        ...


class Evidence:
    """The `DecisionObserver` of the service, which hands on what it has seen.

    `request_id` tells the call that is being handled, if there is one.
    """

    def __init__(
        self,
        *,
        policies: Policies,
        keeper: EvidenceKeeper,
        top: LimitedSubjects,
        request_id: Callable[[], str],
        tallies: Tallies | None = None,
        violations: Violations | None = None,
    ) -> None:
        self._policies = policies
        self._keeper = keeper
        self._top = top
        self._request_id = request_id
        self._tallies = tallies or Tallies()
        self._violations = violations or Violations()
        self._prometheus = metrics.PrometheusEvidence()

    def record(self, tenant: Tenant, act: Act, decision: Decision) -> None:
        """Take note of one act that was checked."""
        tally = self._tallies.of(tenant, decision.rule, decision.plan)
        if decision.allowed:
            tally.allowed += 1
        state = decision.state
        if state is None:
            return  # unlimited
        if state.degraded is not None:
            tally.degraded += 1
        if not decision.allowed:
            self._denied(tenant, act, decision, state, tally)
        for state in decision.states:
            if not state.admits and state.rule.shadow:
                self._watched(tenant, act, decision, state)

    def hand_over(self) -> None:
        """Give everybody what was seen since the last time."""
        self._prometheus.show(self._policies.current)
        counted, violations = self._tallies.drain(), self._violations.drain()
        if counted or violations:
            self._prometheus.add(counted)
            self._keeper.add(counted, violations)

    async def write_out(self) -> None:
        """Hand over, and have it written at once; raises what the keeper raises."""
        self.hand_over()
        await self._keeper.write_once()

    async def run(self) -> None:
        """Hand over again and again, and once more at the end. For a background task."""
        metrics.before_scrape.attach(self.hand_over)
        try:
            while True:
                self.hand_over()
                await asyncio.sleep(INTERVAL)
        finally:
            metrics.before_scrape.detach(self.hand_over)
            self.hand_over()

    def _denied(
        self, tenant: Tenant, act: Act, decision: Decision, state: LimitState, tally: Tally
    ) -> None:
        tally.denied += 1
        if not self._top.limited(Subject(tenant, decision.rule, decision.plan, act.subject)):
            tally.dropped += 1
        self._hold(tenant, act, decision, state, tally)

    def _watched(self, tenant: Tenant, act: Act, decision: Decision, state: LimitState) -> None:
        tally = self._tallies.of(tenant, state.rule.name, decision.plan)
        tally.shadow_denied += 1
        self._hold(tenant, act, decision, state, tally)

    def _hold(
        self, tenant: Tenant, act: Act, decision: Decision, state: LimitState, tally: Tally
    ) -> None:
        rule = state.rule
        offence = Offence(
            tenant,
            act.subject,
            rule.name,
            act.endpoint,
            decision.plan,
            denial_reason(state),
            rule.shadow,
        )
        if self._violations.again(offence, decision.decided_at):
            return
        if not self._violations.begin(
            offence,
            decision.decided_at,
            request_id=self._request_id(),
            limit=state.limit.written,
        ):
            tally.dropped += 1


def current_request_id() -> str:
    """Return the id of the call that is being handled; empty outside of one."""
    try:
        return current_call().request_id
    except LookupError:
        return ""
