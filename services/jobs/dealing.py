"""Who gets which jobs: free places of workers, shared out over the work that waits."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.jobs.job import SessionId
from shared.rpc.call import ALL_TENANTS, Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Room for jobs on one worker's stream; `tenant` is whose jobs it does, * for all."""

    session_id: SessionId
    stream: int
    tenant: Tenant
    functions: frozenset[str]
    room: int

    def serves(self, lane: "Lane") -> bool:
        """Return whether the worker can do the lane's jobs."""
        return lane.function in self.functions and self.tenant in {ALL_TENANTS, lane.tenant}


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """The queue of one function and one tenant."""

    function: str
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """Places for the next jobs of a lane, in the order in which they are to be filled."""

    lane: Lane
    places: tuple[Opening, ...]


def allot(
    openings: Sequence[Opening], lanes: Iterable[Lane], *, limit: int, turn: int
) -> list[Allotment]:
    """Share at most `limit` places over lanes in which something waits.

    Every lane gets an equal share of what is left when its turn comes; `turn` says which lane is
    first. Within a lane, the worker with the most room is next, so that work spreads. No worker
    gets more places than it has room, and every place is for jobs that the worker can do.
    """
    ordered = sorted(lanes)
    start = turn % len(ordered) if ordered else 0
    rooms = [opening.room for opening in openings]
    left = min(limit, sum(rooms))
    allotments = []
    for number, lane in enumerate(ordered[start:] + ordered[:start]):
        share = -(-left // (len(ordered) - number))
        places = _places(openings, rooms, lane, share)
        left -= len(places)
        if places:
            allotments.append(Allotment(lane=lane, places=tuple(places)))
    return allotments


def _places(openings: Sequence[Opening], rooms: list[int], lane: Lane, share: int) -> list[Opening]:
    """Take up to `share` places from `rooms`, roomiest worker first."""
    roomiest = [
        (-room, number)
        for number, room in enumerate(rooms)
        if room > 0 and openings[number].serves(lane)
    ]
    heapq.heapify(roomiest)
    places: list[Opening] = []
    while roomiest and len(places) < share:
        room, number = roomiest[0]
        rooms[number] -= 1
        places.append(openings[number])
        if room + 1 < 0:
            heapq.heapreplace(roomiest, (room + 1, number))
        else:
            heapq.heappop(roomiest)
    return places
