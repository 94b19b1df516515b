"""Sharing out: no worker gets too much or what it cannot do, and no place is wasted."""

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.jobs.dealing import Allotment, Lane, Opening, allot
from services.jobs.job import SessionId
from shared.rpc.call import Tenant

FUNCTIONS = ["a", "b", "c"]
TENANTS = ["acme", "globex"]
LANES = st.sets(st.builds(Lane, st.sampled_from(FUNCTIONS), st.sampled_from(TENANTS)))


@st.composite
def crews(draw: st.DrawFn) -> list[Opening]:
    """Make some workers with room."""
    return [
        Opening(
            session_id=SessionId(UUID(int=number)),
            stream=1,
            tenant=Tenant(draw(st.sampled_from([*TENANTS, "*"]))),
            functions=frozenset(draw(st.sets(st.sampled_from(FUNCTIONS), min_size=1))),
            room=draw(st.integers(1, 20)),
        )
        for number in range(draw(st.integers(0, 5)))
    ]


def shared(
    openings: list[Opening], lanes: set[Lane], limit: int, turn: int
) -> tuple[list[Allotment], Counter[SessionId]]:
    """Share out and count what each worker gets."""
    allotments = allot(openings, lanes, limit=limit, turn=turn)
    return allotments, Counter(
        place.session_id for allotment in allotments for place in allotment.places
    )


class TestAllot:
    @given(openings=crews(), lanes=LANES, limit=st.integers(1, 60), turn=st.integers(0, 99))
    def test_bounds(self, openings: list[Opening], lanes: set[Lane], limit: int, turn: int) -> None:
        """Nobody gets more than it has room for, or another's work, or all together too much."""
        allotments, given_to = shared(openings, lanes, limit, turn)

        assert all(given_to[opening.session_id] <= opening.room for opening in openings)
        assert given_to.total() <= limit
        assert all(
            place.serves(allotment.lane) for allotment in allotments for place in allotment.places
        )
        assert len({allotment.lane for allotment in allotments}) == len(allotments)

    @given(openings=crews(), lanes=LANES, turn=st.integers(0, 99))
    def test_somebody_works(self, openings: list[Opening], lanes: set[Lane], turn: int) -> None:
        """Where somebody could do something that waits, somebody is given something."""
        possible = any(opening.serves(lane) for opening in openings for lane in lanes)

        _, given_to = shared(openings, lanes, 100, turn)

        assert possible == bool(given_to)

    @given(openings=crews(), lane=st.builds(Lane, st.just("a"), st.just("acme")))
    def test_one_lane_gets_all(self, openings: list[Opening], lane: Lane) -> None:
        """A single lane gets every place there is for it."""
        _, given_to = shared(openings, {lane}, 1000, 0)

        room = sum(opening.room for opening in openings if opening.serves(lane))
        assert room == given_to.total()
