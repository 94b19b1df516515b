"""What was admitted here while Redis was away, until Redis has been charged with it.

A debt ages as the counter itself would: what has left its window when Redis is back is no longer
owed, so an outage of an hour does not charge a limit of a minute with all of it. A debt above what
the limit admits at once is charged as that much, which already denies everything until it leaves.

A payment is what is charged in one step. It keeps its name however often it is tried, and Redis
remembers names, so that one whose answer was lost is charged once.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from services.ratelimit import oracles
from services.ratelimit.decision import capacity
from services.ratelimit.local_counters import CounterName, name_of
from services.ratelimit.oracles import State
from services.ratelimit.ports import Charge
from shared.rpc.call import Tenant

MAX_DEBTS = 10_000
"""Counters that are owed for, and payments that wait; then the oldest are forgotten."""


class Debt(NamedTuple):
    """What one counter was consumed by, with a charge that says which counter that is."""

    charge: Charge
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Debts of one tenant that are charged together.

    Attributes:
        tenant: Whose.
        once: The name that makes a repetition harmless.
        debts: What is owed.
        exact: Whether it is charged in full even beyond a limit: its caller named it.

    """

    tenant: Tenant
    once: str
    debts: Sequence[Debt]
    exact: bool = False

    @property
    def names(self) -> Sequence[CounterName]:
        """Return which counters it is for."""
        return [name_of(debt.charge) for debt in self.debts]

    def charges(self, now: int) -> Sequence[Charge]:
        """Return what is still owed."""
        charges = []
        for charge, state in self.debts:
            used = oracles.used(state, now=now, limit=charge.limit)
            amount = used if self.exact else min(used, capacity(charge.limit))
            if amount:
                charges.append(charge._replace(cost=amount))
        return charges


class Debts:
    """What is owed, by counter, and the payments that wait to be tried again.

    A payment is taken, begun when it is sent, and ends as `paid`, `postponed`, `untouched` or
    `refused`. `replica` is a name that no other process has or had. Where more is owed than is
    kept, `on_forget` is called for each counter that goes.
    """

    def __init__(
        self,
        *,
        replica: str,
        most: int = MAX_DEBTS,
        on_forget: Callable[[CounterName], object] = lambda _: None,
    ) -> None:
        self._replica = replica
        self._most = most
        self._on_forget = on_forget
        self._owed: OrderedDict[CounterName, Debt] = OrderedDict()
        self._waiting: deque[Payment] = deque()
        self._named: set[tuple[Tenant, str]] = set()
        # Of each counter, how many debts and payments there are, and how many are on their way.
        self._unpaid: Counter[CounterName] = Counter()
        self._on_their_way: Counter[CounterName] = Counter()
        self._payments = 0

    def __len__(self) -> int:
        """Return how many counters are owed for."""
        return len(self._unpaid)

    def names(self) -> Collection[CounterName]:
        """Return which counters are owed for."""
        return self._unpaid.keys()

    def is_due(self, name: CounterName) -> bool:
        """Return whether a counter is owed for and not all of that is on its way."""
        return self._unpaid.get(name, 0) > self._on_their_way.get(name, 0)

    def add(self, charges: Iterable[Charge], now: int) -> None:
        """Owe what was consumed."""
        for charge in charges:
            name = name_of(charge)
            known = self._owed.get(name)
            state = _charged(None if known is None else known.state, charge, now)
            if state is None:
                continue
            self._owed[name] = Debt(charge, state)
            if known is None:
                self._unpaid[name] += 1
                self._keep_bounded()

    def name(self, charges: Sequence[Charge], *, once: str, now: int) -> bool:
        """Owe what its caller has given a name; returns False when that name is owed already."""
        tenant = charges[0].tenant
        if (tenant, once) in self._named:
            return False
        debts = [
            Debt(charge, state)
            for charge in charges
            if (state := _charged(None, charge, now)) is not None
        ]
        self._named.add((tenant, once))
        self._unpaid.update(name_of(debt.charge) for debt in debts)
        self._wait(Payment(tenant=tenant, once=once, debts=debts, exact=True))
        return True

    def take(self, most: int) -> Sequence[Payment]:
        """Return payments of at most so many counters, and as many that were tried before."""
        again = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        by_tenant: dict[Tenant, list[Debt]] = {}
        for _ in range(min(most, len(self._owed))):
            name, debt = self._owed.popitem(last=False)
            by_tenant.setdefault(name.tenant, []).append(debt)
        return [*again, *(self._payment(*part) for part in by_tenant.items())]

    def begin(self, payment: Payment) -> None:
        """Be told that a payment is sent: what is asked of Redis from now on comes after it."""
        self._on_their_way.update(payment.names)

    def paid(self, payment: Payment) -> None:
        """Owe this no longer."""
        self._end(payment)
        self._forget(payment)

    def postponed(self, payment: Payment) -> None:
        """Try a payment again later, under its name: it may have been carried out."""
        self._end(payment)
        self._wait(payment)

    def untouched(self, payment: Payment) -> None:
        """Owe again what a payment was for: it was surely not carried out."""
        self._end(payment)
        if payment.exact:
            self._wait(payment)
            return
        for name, debt in zip(payment.names, payment.debts, strict=True):
            if name in self._owed:
                # More was consumed since. Two debts of one counter are two payments.
                self._wait(self._payment(payment.tenant, [debt]))
            else:
                self._owed[name] = debt
                self._keep_bounded()

    def refused(self, payment: Payment) -> None:
        """Try each debt by itself, since one of them is what Redis refuses; a single one goes."""
        self._end(payment)
        if payment.exact or len(payment.debts) == 1:
            self._give_up(payment)
            return
        for debt in payment.debts:
            self._wait(self._payment(payment.tenant, [debt]))

    def forget(self, names: Collection[CounterName]) -> None:
        """Owe nothing more for counters that were reset; what is being paid is paid."""
        for name in names:
            if self._owed.pop(name, None) is not None:
                _take_one(self._unpaid, name)
        self._waiting = deque(self._without(payment, names) for payment in self._waiting)

    def _payment(self, tenant: Tenant, debts: Sequence[Debt]) -> Payment:
        self._payments += 1
        return Payment(tenant=tenant, once=f"owed:{self._replica}:{self._payments}", debts=debts)

    def _without(self, payment: Payment, names: Collection[CounterName]) -> Payment:
        kept = []
        for name, debt in zip(payment.names, payment.debts, strict=True):
            if name in names:
                _take_one(self._unpaid, name)
            else:
                kept.append(debt)
        return payment if len(kept) == len(payment.debts) else replace(payment, debts=kept)

    def _wait(self, payment: Payment) -> None:
        self._waiting.append(payment)
        if len(self._waiting) > self._most:
            self._give_up(self._waiting.popleft())

    def _keep_bounded(self) -> None:
        if len(self._owed) > self._most:
            name, _ = self._owed.popitem(last=False)
            _take_one(self._unpaid, name)
            self._on_forget(name)

    def _end(self, payment: Payment) -> None:
        for name in payment.names:
            _take_one(self._on_their_way, name)

    def _forget(self, payment: Payment) -> None:
        self._named.discard((payment.tenant, payment.once))
        for name in payment.names:
            _take_one(self._unpaid, name)

    def _give_up(self, payment: Payment) -> None:
        self._forget(payment)
        for name in payment.names:
            self._on_forget(name)


def _take_one(counts: Counter[CounterName], name: CounterName) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


def _charged(state: State | None, charge: Charge, now: int) -> State | None:
    return oracles.charge(state, now=now, limit=charge.limit, cost=charge.cost)[0]
