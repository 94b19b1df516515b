"""Sharing out: nobody gets too much or what it cannot do, no place is wasted, and all is fair."""

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.jobs.allotting import allot
from services.jobs.caps import Budget, Cap, left
from services.jobs.dealing import Allotment, Lane, Opening, Waiting
from services.jobs.fairness import Fairness
from services.jobs.job import SessionId
from shared.rpc.call import ALL_TENANTS, Tenant

FUNCTIONS = ["a", "b", "c"]
TENANTS = ["acme", "globex"]
VERSIONS = ["", "v1", "v2"]
LANES = st.sets(
    st.builds(
        Lane,
        st.sampled_from(FUNCTIONS),
        st.sampled_from(TENANTS),
        st.sampled_from(VERSIONS),
        st.sampled_from(["", "k"]),
    )
)
BUDGETS = st.fixed_dictionaries(
    {Cap("*", function): st.integers(0, 40) for function in FUNCTIONS}
    | {Cap(tenant, "a", "k"): st.integers(0, 10) for tenant in TENANTS}
)


@st.composite
def crews(draw: st.DrawFn) -> list[Opening]:
    """Make some workers with room."""
    return [
        Opening(
            session_id=SessionId(UUID(int=number)),
            stream=1,
            tenant=Tenant(draw(st.sampled_from([*TENANTS, "*"]))),
            functions=frozenset(draw(st.sets(st.sampled_from(FUNCTIONS), min_size=1))),
            room=draw(st.integers(1, 60)),
            versions=dict.fromkeys(FUNCTIONS, draw(st.sampled_from(VERSIONS))),
        )
        for number in range(draw(st.integers(0, 5)))
    ]


def drawing(lane: Lane) -> Waiting:
    """Return a lane that draws from the cap of its function and, where there is one, of its key."""
    budgets: list[Budget] = [Cap("*", lane.function)]
    if lane.function == "a" and lane.key:
        budgets.append(Cap(lane.tenant, "a", lane.key))
    return Waiting(lane=lane, budgets=tuple(budgets))


def taken(allotments: list[Allotment]) -> Counter[SessionId]:
    """Return how many places each worker gives."""
    return Counter(place.session_id for each in allotments for place in each.places)


def drawn(allotments: list[Allotment]) -> Counter[Budget]:
    """Return what is drawn from each budget."""
    counts: Counter[Budget] = Counter()
    for each in allotments:
        for budget in drawing(each.lane).budgets:
            counts[budget] += len(each.places)
    return counts


class TestAllot:
    @given(crews(), LANES, BUDGETS, st.integers(1, 200))
    def test_within_bounds(
        self, openings: list[Opening], lanes: set[Lane], budgets: dict[Budget, int], limit: int
    ) -> None:
        """No worker gives more than its room, no budget more than it has, no batch is too large."""
        allotments = allot(
            openings, [*map(drawing, lanes)], limit=limit, places=Fairness(), budgets=budgets
        )

        rooms = {opening.session_id: opening.room for opening in openings}
        assert all(count <= rooms[session] for session, count in taken(allotments).items())
        assert all(count <= budgets[budget] for budget, count in drawn(allotments).items())
        assert taken(allotments).total() <= limit

    @given(crews(), LANES, BUDGETS)
    def test_only_what_it_can(
        self, openings: list[Opening], lanes: set[Lane], budgets: dict[Budget, int]
    ) -> None:
        """Every place is for jobs that the worker can do, and there are no lanes without places."""
        allotments = allot(
            openings, [*map(drawing, lanes)], limit=500, places=Fairness(), budgets=budgets
        )

        assert all(place.serves(each.lane) for each in allotments for place in each.places)
        assert all(each.places for each in allotments)

    @given(crews(), LANES, BUDGETS)
    def test_nothing_wasted(
        self, openings: list[Opening], lanes: set[Lane], budgets: dict[Budget, int]
    ) -> None:
        """Where a lane could have more, no worker of it has room left."""
        allotments = allot(
            openings, [*map(drawing, lanes)], limit=500, places=Fairness(), budgets=budgets
        )

        gone, given_out = taken(allotments), drawn(allotments)
        rest: dict[Budget, int] = {
            budget: count - given_out[budget] for budget, count in budgets.items()
        }
        free = [opening for opening in openings if gone[opening.session_id] < opening.room]
        hungry = [lane for lane in lanes if left(rest, drawing(lane).budgets, at_most=1) > 0]
        assert not any(opening.serves(lane) for opening in free for lane in hungry)


class TestFairness:
    @given(
        st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1),
        st.lists(st.integers(1, 40), min_size=1, max_size=20),
    )
    def test_shares(self, weights: dict[str, int], rooms: list[int]) -> None:
        """Over any rounds, each tenant has its share by weight, to within one job of each other."""
        fairness = Fairness(lambda tenant: float(weights[tenant]))
        lanes = [Lane("f", tenant) for tenant in weights]
        served: Counter[str] = Counter()
        for room in rooms:
            worker = Opening(
                session_id=SessionId(UUID(int=1)),
                stream=1,
                tenant=ALL_TENANTS,
                functions=frozenset("f"),
                room=room,
            )
            allotments = allot(
                [worker], [Waiting(lane=lane) for lane in lanes], limit=99, places=fairness
            )
            fairness.charge({each.lane: len(each.places) for each in allotments}, lanes)
            served.update({each.lane.tenant: len(each.places) for each in allotments})

        ways = {tenant: served[tenant] / weight for tenant, weight in weights.items()}
        # Nobody is further ahead than one job of his own takes him.
        behind = min(ways.values())
        assert all(way - 1 / weights[tenant] <= behind + 1e-6 for tenant, way in ways.items())
