"""Places of workers shared out over what waits."""

from collections import Counter
from uuid import UUID

from services.jobs.dealing import Lane, Opening, allot
from services.jobs.job import SessionId
from shared.rpc.call import Tenant

A = Lane("a", "acme")
B = Lane("b", "acme")


def opening(number: int, room: int, *functions: str, tenant: str = "acme") -> Opening:
    """Return a worker's room."""
    return Opening(
        session_id=SessionId(UUID(int=number)),
        stream=1,
        tenant=Tenant(tenant),
        functions=frozenset(functions or {"a"}),
        room=room,
    )


def places(openings: list[Opening], lanes: list[Lane], **how: int) -> dict[Lane, list[int]]:
    """Return the workers' numbers in the order of their places, for each lane."""
    allotments = allot(openings, lanes, limit=how.get("limit", 100), turn=how.get("turn", 0))
    return {each.lane: [place.session_id.int for place in each.places] for each in allotments}


class TestAllot:
    def test_work_spreads(self) -> None:
        """Within a lane the worker with the most room is next."""
        assert places([opening(1, 3), opening(2, 2)], [A]) == {A: [1, 1, 2, 1, 2]}

    def test_lanes_share(self) -> None:
        """Lanes get equal shares."""
        shared = places([opening(1, 10, "a", "b")], [A, B])

        assert {A: 5, B: 5} == {lane: len(found) for lane, found in shared.items()}

    def test_turns(self) -> None:
        """When there is too little for all lanes, they take turns."""
        served = [list(places([opening(1, 1, "a", "b")], [A, B], turn=turn)) for turn in range(4)]

        assert [[A], [B], [A], [B]] == served

    def test_what_one_lane_cannot_use(self) -> None:
        """Places that no worker of one lane has go to the next lane."""
        shared = places([opening(1, 1, "a"), opening(2, 9, "b")], [A, B])

        assert {A: [1], B: [2] * 9} == shared

    def test_limit(self) -> None:
        """A batch has a bound."""
        shared = places([opening(1, 50)], [A], limit=7)

        assert Counter({A: 7}) == {lane: len(found) for lane, found in shared.items()}

    def test_tenants_apart(self) -> None:
        """A tenant's worker gets no job of another; a worker for all gets every tenant's."""
        lanes = [Lane("a", "acme"), Lane("a", "globex")]

        shared = places([opening(1, 2), opening(2, 4, tenant="*")], lanes)

        assert {2} == set(shared[Lane("a", "globex")])
        assert {1, 2} == set(shared[Lane("a", "acme")])

    def test_nothing_waits(self) -> None:
        """Without work there is nothing to share."""
        assert places([opening(1, 2)], []) == {}
