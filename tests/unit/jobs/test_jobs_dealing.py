"""Places of workers shared out over what waits."""

from collections import Counter
from collections.abc import Iterable, Mapping
from uuid import UUID

from services.jobs.allotting import allot
from services.jobs.caps import Budget, Cap, Rate
from services.jobs.dealing import Lane, Opening, Waiting, startable
from services.jobs.fairness import Fairness
from services.jobs.job import SessionId
from shared.rpc.call import Tenant

A = Lane("a", "acme")
B = Lane("b", "acme")


def opening(
    number: int,
    room: int,
    *functions: str,
    tenant: str = "acme",
    versions: Mapping[str, str] | None = None,
) -> Opening:
    """Return a worker's room."""
    return Opening(
        session_id=SessionId(UUID(int=number)),
        stream=1,
        tenant=Tenant(tenant),
        functions=frozenset(functions or {"a"}),
        room=room,
        versions=versions or {},
    )


def places(
    openings: list[Opening],
    lanes: Iterable[Lane | Waiting],
    *,
    limit: int = 100,
    fairness: Fairness | None = None,
    budgets: dict[Budget, int] | None = None,
) -> dict[Lane, list[int]]:
    """Return the workers' numbers in the order of their places, for each lane."""
    waiting = [lane if isinstance(lane, Waiting) else Waiting(lane=lane) for lane in lanes]
    allotments = allot(
        openings, waiting, limit=limit, places=fairness or Fairness(), budgets=budgets
    )
    return {each.lane: [place.session_id.int for place in each.places] for each in allotments}


class TestAllot:
    def test_work_spreads(self) -> None:
        """Within a lane the worker with the most room is next."""
        assert places([opening(1, 3), opening(2, 2)], [A]) == {A: [1, 1, 2, 1, 2]}

    def test_lanes_share(self) -> None:
        """Functions get equal shares."""
        shared = places([opening(1, 10, "a", "b")], [A, B])

        assert {A: 5, B: 5} == {lane: len(found) for lane, found in shared.items()}

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

    def test_lowest_rank_first(self) -> None:
        """Of lanes whose turn it is equally, the one whose first job has waited longest is next."""
        keys = [Waiting(lane=Lane("a", "acme", key=str(rank)), rank=rank) for rank in (3, 1, 2)]

        shared = places([opening(1, 2)], keys)

        assert {"1", "2"} == {lane.key for lane in shared}


class TestVersions:
    PINNED = Lane("a", "acme", version="v1")

    def test_own_version(self) -> None:
        """What is pinned to a version goes to its workers only, and they do the rest as well."""
        old, new = (
            opening(1, 2, versions={"a": "v1"}),
            opening(2, 2, versions={"a": "v2"}),
        )

        shared = places([old, new], [self.PINNED, A])

        assert {1} == set(shared[self.PINNED])
        assert {2} <= set(shared[A])

    def test_no_version(self) -> None:
        """A worker that does not tell its version gets nothing that is pinned."""
        assert places([opening(1, 2)], [self.PINNED]) == {}


class TestBudgets:
    def test_cap(self) -> None:
        """A lane gets no more than its cap has left, and the room goes to others."""
        cap = Cap("acme", "a")
        capped = Waiting(lane=A, budgets=(cap,))

        shared = places([opening(1, 10, "a", "b")], [capped, B], budgets={cap: 3})

        assert {A: 3, B: 7} == {lane: len(found) for lane, found in shared.items()}

    def test_shared_by_lanes(self) -> None:
        """Lanes that draw from one budget share what it has left."""
        cap = Cap("*", "a")
        lanes = [Waiting(lane=Lane("a", tenant), budgets=(cap,)) for tenant in ("x", "y", "z")]

        shared = places([opening(1, 10, tenant="*")], lanes, budgets={cap: 4})

        assert 4 == sum(map(len, shared.values()))

    def test_the_least_counts(self) -> None:
        """Of several budgets, the one with the least left decides."""
        cap, rate = Cap("acme", "a"), Rate("acme", "mail", "tenant:acme")
        lane = Waiting(lane=A, budgets=(cap, rate))

        assert {A: [1]} == places([opening(1, 10)], [lane], budgets={cap: 5, rate: 1})

    def test_not_listed(self) -> None:
        """A budget of which nothing is known allows nothing."""
        lane = Waiting(lane=A, budgets=(Cap("acme", "a"),))

        assert {} == places([opening(1, 10)], [lane])

    def test_limited(self) -> None:
        """An allotment says when a budget was all that it could have."""
        cap = Cap("acme", "a")
        lane = Waiting(lane=A, budgets=(cap,))

        told = [
            allot([opening(1, room)], [lane], limit=9, places=Fairness(), budgets={cap: 2})
            for room in (1, 2)
        ]

        assert [[False], [True]] == [[each.limited for each in found] for found in told]


class TestStartable:
    def test_what_could_start(self) -> None:
        """Neither what no worker can do nor what has used up its budget takes part."""
        empty, left = Cap("acme", "a"), Cap("acme", "b")
        waiting = [
            Waiting(lane=A, budgets=(empty,)),
            Waiting(lane=B, budgets=(left,)),
            Waiting(lane=Lane("c", "acme")),
        ]

        able = startable([opening(1, 1, "a", "b")], waiting, {empty: 0, left: 1})

        assert [B] == [each.lane for each in able]
