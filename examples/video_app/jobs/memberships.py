"""What a member gets to hear of a change. The plan itself is changed by the rate limit service.

Both start by `membership/updated`: an event has as many functions as want it.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from mainstay.jobs import Debounce, JobContext, JsonValue, Worker

TRIAL = timedelta(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipChange:
    """The payload of `membership/updated`, as far as it matters here."""

    user_id: str
    plan: str
    status: Literal["active", "trialing", "past_due", "cancelled"]


def register(worker: Worker) -> None:
    """Add `greet-member`."""

    # A checkout changes a membership several times within a second; the last one is the truth.
    @worker.function(
        "greet-member", on="membership/updated", debounce=Debounce(period=1, key="/user_id")
    )
    async def greet_member(job: JobContext, change: MembershipChange) -> list[str]:
        """Write to the member; after a trial without a decision, write once more.

        The wait for the decision takes two weeks and no worker.
        """
        templates = [f"membership-{change.status.replace('_', '-')}"]
        await job.step.send_event("greeting", "email/send", _email(change, templates[0]))
        if change.status == "trialing":
            decision = await job.step.wait_for_event(
                "decision", "membership/updated", match={"user_id": change.user_id}, timeout=TRIAL
            )
            if decision is None:
                templates.append("trial-has-ended")
                await job.step.send_event("reminder", "email/send", _email(change, templates[1]))
        return templates


def _email(change: MembershipChange, template: str) -> dict[str, JsonValue]:
    return {
        "to": [f"{change.user_id}@members.example"],
        "template": template,
        "variables": {"plan": change.plan},
    }
