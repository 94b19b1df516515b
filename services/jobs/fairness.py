"""Whose turn it is: functions in equal shares, tenants by weight, and then keys in turn.

Stride scheduling (Waldspurger and Weihl, 1995): whoever starts a job moves on by one over its
weight, and who has come least far is next. So over any stretch in which the same ones wait, each
gets its share to within one job. Who comes back after a while begins where the others are, and has
saved up nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from services.jobs.dealing import Lane, Path, nodes

MAX_KNOWN = 20_000
"""How many places of functions, tenants and keys are kept; more than these are forgotten."""

_TENANT = 2  # names in the path of a tenant: the function, and the tenant

Weight = Callable[[str], float]


def equal(_tenant: str) -> float:
    """Weigh every tenant alike."""
    return 1.0


@dataclass(slots=True)
class _Race:
    """How far the children of one node have come; `start` is where newcomers begin."""

    start: float
    places: dict[str, float]


class Fairness:
    """Remembers how far everybody has come; `weight` tells that of a tenant, more than 0."""

    def __init__(self, weight: Weight = equal, *, max_known: int = MAX_KNOWN) -> None:
        self._weight = weight
        self._max_known = max_known
        self._races: dict[Path, _Race] = {}
        self._known = 0

    @property
    def known(self) -> int:
        """Return how many places are kept."""
        return self._known + len(self._races)

    def place(self, node: Path) -> float:
        """Return how far a function, a tenant of it, or a lane of that one has come."""
        race = self._races.get(node[:-1])
        if race is None:
            return 0.0
        return max(race.places.get(node[-1], 0.0), race.start)

    def stride(self, node: Path) -> float:
        """Return how far it moves on with each job."""
        return 1.0 / self._weight(node[1]) if len(node) == _TENANT else 1.0

    def charge(self, served: Mapping[Lane, int], waiting: Iterable[Lane]) -> None:
        """Move on those who got jobs; `waiting` are all who could have got some."""
        for lane, jobs in served.items():
            for node in nodes(lane):
                self._move(node, jobs * self.stride(node))
        self._catch_up({node for lane in waiting for node in nodes(lane)})
        if self.known > self._max_known:
            self._races.clear()
            self._known = 0

    def _move(self, node: Path, way: float) -> None:
        race = self._races.setdefault(node[:-1], _Race(0.0, {}))
        self._known += node[-1] not in race.places
        race.places[node[-1]] = max(race.places.get(node[-1], 0.0), race.start) + way

    def _catch_up(self, waiting: set[Path]) -> None:
        """Let newcomers begin where the last of those who wait is."""
        last: dict[Path, float] = {}
        for node in waiting:
            last[node[:-1]] = min(last.get(node[:-1], float("inf")), self.place(node))
        for parent, place in last.items():
            race = self._races.get(parent)
            if race is None or place <= race.start:
                continue
            race.start = place
            behind = [child for child, reached in race.places.items() if reached <= place]
            for child in behind:
                del race.places[child]
            self._known -= len(behind)
