"""The counters of one replica while those in Redis cannot be reached."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from services.ratelimit import local_share, oracles
from services.ratelimit.oracles import State
from services.ratelimit.ports import Charge
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant

MAX_COUNTERS = 10_000
"""Counters that are kept, at about a kilobyte each; then those that were asked longest ago go."""


class CounterName(NamedTuple):
    """Which counter: two charges of the same name share one."""

    tenant: Tenant
    rule: str
    position: int
    subject: str


def name_of(charge: Charge) -> CounterName:
    """Return which counter a charge is on."""
    return CounterName(charge.tenant, charge.rule.name, charge.position, charge.subject)


class Decided(NamedTuple):
    """What was decided about each charge, and which of them were consumed."""

    verdicts: Sequence[Verdict]
    consumed: Sequence[Charge]


class LocalCounters:
    """Decides as the counters' store does, each charge by the failure mode of its rule.

    It keeps at most `most` counters; for each that goes, `on_drop` is called, and that subject
    begins anew. What was consumed is kept when Redis is back: in no window, through however many
    outages, does a replica admit more than its share.
    """

    def __init__(
        self, *, most: int = MAX_COUNTERS, on_drop: Callable[[], object] = lambda: None
    ) -> None:
        self._states: OrderedDict[CounterName, State] = OrderedDict()
        self._most = most
        self._on_drop = on_drop

    def __len__(self) -> int:
        return len(self._states)

    def names(self) -> Sequence[CounterName]:
        """Return which counters there are."""
        return list(self._states)

    def decide(
        self,
        charges: Sequence[Charge],
        *,
        consume: bool,
        now: int,
        replicas: int,
        most: int | None = None,
    ) -> Decided:
        """Decide all or nothing; rules in shadow keep nobody from anything.

        Of each charge no more than `most` is consumed, if that is given.
        """
        verdicts = [self._look(charge, now, replicas) for charge in charges]
        admitted = all(
            verdict.admits or charge.rule.shadow
            for charge, verdict in zip(charges, verdicts, strict=True)
        )
        if not (consume and admitted):
            return Decided(verdicts, ())
        consumed = []
        for n, charge in enumerate(charges):
            if verdicts[n].admits:
                part = charge if most is None else charge._replace(cost=min(charge.cost, most))
                verdicts[n] = self._consume(part, now, replicas)
                consumed.append(part)
        return Decided(verdicts, consumed)

    def charge(self, charges: Sequence[Charge], *, now: int, replicas: int) -> Sequence[Verdict]:
        """Consume whatever the limits say."""
        verdicts = []
        for charge in charges:
            name = name_of(charge)
            state, verdict = local_share.charge(
                self._states.get(name), charge, now=now, replicas=replicas
            )
            self._keep(name, state)
            verdicts.append(verdict)
        return verdicts

    def give_back(
        self, charges: Sequence[Charge], *, admitted_at: int, now: int, replicas: int
    ) -> None:
        """Undo what `decide` has consumed."""
        for charge in charges:
            name = name_of(charge)
            if (state := self._states.get(name)) is None:
                continue
            left = local_share.give_back(
                state, charge, admitted_at=admitted_at, now=now, replicas=replicas
            )
            if left is None:
                self.drop(name)
            else:
                self._states[name] = left

    def drop(self, name: CounterName) -> None:
        """Forget a counter."""
        self._states.pop(name, None)

    def drop_empty(self, now: int) -> None:
        """Forget counters of which everything has left, as far as they stand first."""
        while self._states:
            name, state = next(iter(self._states.items()))
            if not oracles.is_empty(state, now):
                return
            del self._states[name]

    def _look(self, charge: Charge, now: int, replicas: int) -> Verdict:
        state = self._states.get(name_of(charge))
        _, verdict = local_share.decide(state, charge, now=now, replicas=replicas, consume=False)
        return verdict

    def _consume(self, charge: Charge, now: int, replicas: int) -> Verdict:
        name = name_of(charge)
        state, verdict = local_share.decide(
            self._states.get(name), charge, now=now, replicas=replicas, consume=True
        )
        self._keep(name, state)
        return verdict

    def _keep(self, name: CounterName, state: State | None) -> None:
        if state is None:
            return
        self._states[name] = state
        self._states.move_to_end(name)
        if len(self._states) > self._most:
            self._states.popitem(last=False)
            self._on_drop()
