"""Several who take note of every decision."""

from collections.abc import Sequence

from services.ratelimit.act import Act
from services.ratelimit.decision import Decision
from services.ratelimit.ports import DecisionObserver
from shared.rpc.call import Tenant


class Observers:
    """A `DecisionObserver` that tells others, in their order."""

    def __init__(self, observers: Sequence[DecisionObserver]) -> None:
        self._record = [observer.record for observer in observers]

    def record(self, tenant: Tenant, act: Act, decision: Decision) -> None:
        for record in self._record:
            record(tenant, act, decision)
