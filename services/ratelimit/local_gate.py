"""What a replica's own share says beside Redis, while Redis may not know of everything yet.

Only rules that are `local` have a share. What is `closed` denies where Redis does not answer and
what is `open` admits there; while it answers, neither adds anything to what it says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.ratelimit.local_counters import CounterName, LocalCounters, name_of
from services.ratelimit.policy import FailureMode
from services.ratelimit.ports import Charge
from services.ratelimit.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the shares say of a check, and what was consumed of them until Redis has spoken too.

    Attributes:
        at: When.
        verdicts: Of each counter that has a share.
        consumed: Nothing when a share denies, or when it was only a look.

    """

    at: int
    verdicts: Mapping[CounterName, Verdict]
    consumed: Sequence[Charge]
    admits: bool

    def combined(self, charges: Sequence[Charge], told: Sequence[Verdict]) -> Sequence[Verdict]:
        """Return what holds of each charge: the stricter of the share and Redis."""
        if self.consumed and not admitted(charges, told):
            return told  # what the shares say counts what they have got back
        return [
            stricter(verdict, self.verdicts.get(name_of(charge)))
            for charge, verdict in zip(charges, told, strict=True)
        ]


class LocalGate:
    """Lets through no more than the shares of this replica."""

    def __init__(self, local: LocalCounters, *, replicas: Callable[[], int]) -> None:
        self._local = local
        self._replicas = replicas

    def hold(self, charges: Sequence[Charge], *, consume: bool, now: int) -> Held:
        """Decide, and consume where that is asked and every share admits."""
        shared = _with_shares(charges)
        verdicts, consumed = self._local.decide(
            shared, consume=consume, now=now, replicas=self._replicas()
        )
        return Held(
            at=now,
            verdicts={
                name_of(charge): verdict for charge, verdict in zip(shared, verdicts, strict=True)
            },
            consumed=consumed,
            admits=admitted(shared, verdicts),
        )

    def settle(
        self, held: Held, charges: Sequence[Charge], told: Sequence[Verdict] | None, *, now: int
    ) -> None:
        """Give back what Redis has not admitted; None when it did not answer."""
        if not held.consumed:
            return
        kept: set[CounterName] = set()
        if told is not None and admitted(charges, told):
            pairs = zip(charges, told, strict=True)
            kept = {name_of(charge) for charge, verdict in pairs if verdict.admits}
        back = [charge for charge in held.consumed if name_of(charge) not in kept]
        self._local.give_back(back, admitted_at=held.at, now=now, replicas=self._replicas())

    def charge(self, charges: Sequence[Charge], *, now: int) -> None:
        """Consume of the shares what Redis was charged with, whatever they say."""
        self._local.charge(_with_shares(charges), now=now, replicas=self._replicas())


def admitted(charges: Sequence[Charge], verdicts: Sequence[Verdict]) -> bool:
    """Return whether nothing keeps a check from being admitted: a rule in shadow does not."""
    pairs = zip(charges, verdicts, strict=True)
    return all(verdict.admits or charge.rule.shadow for charge, verdict in pairs)


def stricter(told: Verdict, here: Verdict | None) -> Verdict:
    """Return what Redis says and, where that is less, what the share leaves."""
    if here is None or not told.admits:
        return told
    if not here.admits:
        return here
    return told._replace(used=max(told.used, here.used), reset_at=max(told.reset_at, here.reset_at))


def _with_shares(charges: Sequence[Charge]) -> Sequence[Charge]:
    return [charge for charge in charges if charge.rule.on_failure is FailureMode.LOCAL]
