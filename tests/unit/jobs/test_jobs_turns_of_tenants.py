"""Whose turn it is, over several rounds."""

from collections import Counter
from uuid import UUID

from services.jobs.allotting import allot
from services.jobs.dealing import Lane, Opening, Waiting
from services.jobs.fairness import Fairness
from services.jobs.job import SessionId
from shared.rpc.call import ALL_TENANTS

WEIGHTS = {"heavy": 3.0, "light": 0.5}


def weight(tenant: str) -> float:
    """Return what a tenant weighs."""
    return WEIGHTS.get(tenant, 1.0)


def rounds(fairness: Fairness, lanes: list[Lane], *, count: int, room: int = 1) -> list[Lane]:
    """Give away so many rounds of places and return whose they were, in order."""
    worker = Opening(
        session_id=SessionId(UUID(int=1)),
        stream=1,
        tenant=ALL_TENANTS,
        functions=frozenset(lane.function for lane in lanes),
        room=room,
    )
    served: list[Lane] = []
    for _ in range(count):
        allotments = allot(
            [worker], [Waiting(lane=lane) for lane in lanes], limit=room, places=fairness
        )
        found = Counter({each.lane: len(each.places) for each in allotments})
        fairness.charge(found, lanes)
        served += found.elements()
    return served


def of_tenants(*tenants: str) -> list[Lane]:
    """Return a lane of one function for each tenant."""
    return [Lane("f", tenant) for tenant in tenants]


class TestTenants:
    def test_in_turn(self) -> None:
        """Tenants that weigh alike take turns, one job at a time."""
        served = rounds(Fairness(), of_tenants("a", "b", "c"), count=6)

        assert ["a", "b", "c", "a", "b", "c"] == [lane.tenant for lane in served]

    def test_by_weight(self) -> None:
        """Each gets in proportion to its weight."""
        served = rounds(Fairness(weight), of_tenants("heavy", "usual", "light"), count=90)

        assert {"heavy": 60, "usual": 20, "light": 10} == Counter(lane.tenant for lane in served)

    def test_in_large_rounds(self) -> None:
        """It makes no difference how many places are given away at a time."""
        served = rounds(Fairness(weight), of_tenants("heavy", "usual"), count=5, room=80)

        assert {"heavy": 300, "usual": 100} == Counter(lane.tenant for lane in served)

    def test_lanes_do_not_count(self) -> None:
        """A tenant with many keys gets no more than one with one."""
        lanes = [*of_tenants("one"), *(Lane("f", "many", key=str(key)) for key in range(9))]

        served = rounds(Fairness(), lanes, count=100)

        assert {"one": 50, "many": 50} == Counter(lane.tenant for lane in served)

    def test_nobody_saves_up(self) -> None:
        """Who had nothing for a while begins where the others are."""
        fairness = Fairness()
        rounds(fairness, of_tenants("a", "b"), count=2)
        rounds(fairness, of_tenants("a"), count=1_000)

        served = rounds(fairness, of_tenants("a", "b"), count=10)

        assert {"a": 5, "b": 5} == Counter(lane.tenant for lane in served)

    def test_newcomer_waits_for_nobody(self) -> None:
        """Who is new gets its share at once, however long the others have been there."""
        fairness = Fairness()
        rounds(fairness, of_tenants("a", "b"), count=1_000)

        served = rounds(fairness, of_tenants("a", "b", "new"), count=3)

        assert {"a": 1, "b": 1, "new": 1} == Counter(lane.tenant for lane in served)

    def test_blocked_tenant_catches_up_with_nobody(self) -> None:
        """Who could not start anything for a while does not hold up the others after."""
        fairness = Fairness()
        everybody = of_tenants("a", "blocked")
        rounds(fairness, everybody, count=2)
        # It waits all the time, but is not among those that could have got a place.
        rounds(fairness, of_tenants("a"), count=500)

        served = rounds(fairness, everybody, count=10)

        assert {"a": 5, "blocked": 5} == Counter(lane.tenant for lane in served)


class TestFunctions:
    def test_equal_shares(self) -> None:
        """Functions get equal shares, whatever their tenants weigh."""
        lanes = [Lane("f", "heavy"), Lane("f", "usual"), Lane("g", "light")]

        served = rounds(Fairness(weight), lanes, count=80)

        assert {"f": 40, "g": 40} == Counter(lane.function for lane in served)


class TestKeys:
    def test_in_turn(self) -> None:
        """Keys of a tenant take turns."""
        lanes = [Lane("f", "a", key=key) for key in "xyz"]

        served = rounds(Fairness(), lanes, count=7)

        assert ["x", "y", "z", "x", "y", "z", "x"] == [lane.key for lane in served]


class TestMemory:
    def test_bounded(self) -> None:
        """However many keys there were, few are remembered, and turns go on."""
        fairness = Fairness(max_known=50)
        for batch in range(40):
            lanes = [Lane("f", f"t{batch}-{number}") for number in range(10)]
            rounds(fairness, lanes, count=3)

        assert fairness.known <= 50
        served = rounds(fairness, of_tenants("a", "b"), count=4)
        assert {"a": 2, "b": 2} == Counter(lane.tenant for lane in served)
