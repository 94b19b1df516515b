"""For whom Redis is not asked for a while, because it has let one of them wait."""

from collections import OrderedDict
from collections.abc import Callable

from shared.rpc.call import Tenant

HOLD_OFF = 1.0
"""Seconds for which a tenant's calls do not wait for a Redis that has let one of them wait."""
MAX_HELD_OFF = 10_000


class Patience:
    """Knows for whom Redis was silent lately.

    By tenant: on a cluster, the node that has one tenant's counters may be gone alone. All that a
    connection breaks for, the Redis client itself refuses at once; this is for one that is slow.
    """

    def __init__(self, seconds: Callable[[], float], *, most: int = MAX_HELD_OFF) -> None:
        self._seconds = seconds
        self._most = most
        self._until: OrderedDict[Tenant, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def allows(self, tenant: Tenant) -> bool:
        """Return whether to ask; when the time has come, this caller alone is to try, and must."""
        until = self._until.get(tenant)
        if until is None:
            return True
        now = self._seconds()
        if now < until:
            return False
        self._until[tenant] = now + HOLD_OFF
        return True

    def lose(self, tenant: Tenant) -> None:
        """Ask nothing for a while."""
        self._until[tenant] = self._seconds() + HOLD_OFF
        if len(self._until) > self._most:
            self._until.popitem(last=False)

    def regain(self, tenant: Tenant) -> None:
        """Ask again."""
        self._until.pop(tenant, None)
