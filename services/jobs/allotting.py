"""Who gets which jobs: free places of workers, shared out over the lanes in which work waits."""

import heapq
from collections.abc import Sequence
from typing import Protocol

from services.jobs.caps import Budgets, draw, left
from services.jobs.dealing import Allotment, Lane, Opening, Path, Waiting, nodes


class Places(Protocol):
    """How far functions, tenants and lanes have come in taking turns; see `Fairness`."""

    def place(self, node: Path) -> float:
        """Return how far one has come."""
        ...

    def stride(self, node: Path) -> float:
        """Return how far it moves on with each job."""
        ...


def allot(
    openings: Sequence[Opening],
    waiting: Sequence[Waiting],
    *,
    limit: int,
    places: Places,
    budgets: Budgets | None = None,
) -> list[Allotment]:
    """Share at most `limit` places over lanes in which something waits.

    Place by place: of the functions the one that has come least far is next, of its tenants the one
    that has, of its lanes likewise, and of lanes that have come as far that with the lowest rank.
    Within a lane, the worker with the most room is next, so that work spreads. No worker gets more
    places than it has room, every place is for jobs that the worker can do, and no lane gets more
    than the budgets it draws from allow.
    """
    hall = _Hall(openings, dict(budgets or {}))
    lines = [_Line(each, hall) for each in waiting]
    root = _tree(lines, places)
    for _ in range(min(limit, hall.room)):
        if not root.take_one():
            break
    return [
        Allotment(
            lane=line.waiting.lane,
            places=tuple(line.places),
            limited=left(hall.budgets, line.waiting.budgets, at_most=1) <= 0,
        )
        for line in lines
        if line.places
    ]


def _tree(lines: "Sequence[_Line]", places: Places) -> "_Node":
    root = _Node()
    for line in lines:
        function, tenant, last = nodes(line.waiting.lane)
        rank = line.waiting.rank
        of_function = root.child(function, rank, places)
        of_tenant = of_function.child(tenant, rank, places)
        of_tenant.join(line, last, rank, places)
    return root


class _Hall:
    """The room of all workers, and the budgets, while places are given away."""

    def __init__(self, openings: Sequence[Opening], budgets: Budgets) -> None:
        self.budgets = budgets
        self.room = sum(opening.room for opening in openings)
        self._openings = openings
        self._rooms = [opening.room for opening in openings]
        self._crews: dict[tuple[str, str, str], list[tuple[int, int]]] = {}

    def seat(self, lane: Lane) -> Opening | None:
        """Take a place with the roomiest worker that can do a lane's jobs."""
        crew = self._crew(lane)
        while crew:
            room, number = crew[0]
            now = -self._rooms[number]
            if now == 0:
                heapq.heappop(crew)
            elif room != now:
                # Other lanes have taken places there meanwhile.
                heapq.heapreplace(crew, (now, number))
            else:
                self._rooms[number] -= 1
                return self._openings[number]
        return None

    def _crew(self, lane: Lane) -> list[tuple[int, int]]:
        kind = (lane.function, lane.tenant, lane.version)
        crew = self._crews.get(kind)
        if crew is None:
            crew = [
                (-room, number)
                for number, room in enumerate(self._rooms)
                if room > 0 and self._openings[number].serves(lane)
            ]
            heapq.heapify(crew)
            self._crews[kind] = crew
        return crew


class _Line:
    """A lane while places are given away."""

    def __init__(self, waiting: Waiting, hall: _Hall) -> None:
        self.waiting = waiting
        self.places: list[Opening] = []
        self._hall = hall

    def take_one(self) -> bool:
        """Take a place; False when there is none for this lane any more."""
        if left(self._hall.budgets, self.waiting.budgets, at_most=1) <= 0:
            return False
        seat = self._hall.seat(self.waiting.lane)
        if seat is None:
            return False
        draw(self._hall.budgets, self.waiting.budgets)
        self.places.append(seat)
        return True


class _Node:
    """A function, or a tenant of one, while places are given away; next is who came least far."""

    def __init__(self) -> None:
        # How far each has come, then its rank; the number keeps what is equal in order.
        self._next: list[tuple[float, int, int, _Node | _Line, float]] = []
        self._children: dict[Path, _Node] = {}

    def child(self, path: Path, rank: int, places: Places) -> "_Node":
        """Return the child of a path, which takes part from now on."""
        child = self._children.get(path)
        if child is None:
            child = self._children[path] = _Node()
            self.join(child, path, rank, places)
        return child

    def join(self, what: "_Node | _Line", path: Path, rank: int, places: Places) -> None:
        """Let a node or a lane take part."""
        entry = (places.place(path), rank, len(self._next), what, places.stride(path))
        heapq.heappush(self._next, entry)

    def take_one(self) -> bool:
        """Take a place for whoever is next; False when there is none any more."""
        while self._next:
            place, rank, number, what, stride = self._next[0]
            if what.take_one():
                heapq.heapreplace(self._next, (place + stride, rank, number, what, stride))
                return True
            heapq.heappop(self._next)
        return False
