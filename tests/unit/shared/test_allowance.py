"""How many calls are let in, and whose."""

from math import inf

import pytest

from mainstay.errors import UnavailableError
from shared.rpc.admission import (
    LEAST,
    LONG,
    MOST_TENANTS,
    SUSTAINED,
    TARGET,
    Admission,
    Allowance,
    fair_level,
)
from shared.rpc.call import Tenant

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
LATE = TARGET * 2


def interval(allowance: Allowance, delay: float, **wanted: int) -> dict[str, int]:
    """Let tenants ask for so many calls each, and sound; return how many were let in."""
    let_in = {
        name: sum(allowance.take(Tenant(name)) for _ in range(count))
        for name, count in wanted.items()
    }
    allowance.sound(delay)
    return let_in


class TestWithoutAQueue:
    def test_everything_is_let_in(self) -> None:
        """However many come, as long as none waits."""
        allowance = Allowance()

        assert {"acme": 9_000} == interval(allowance, TARGET, acme=9_000)
        assert {"acme": 99_000} == interval(allowance, TARGET, acme=99_000)
        assert not allowance.limited

    def test_a_hiccup_sheds_nobody(self) -> None:
        """One that is over before it is found a third time."""
        allowance = Allowance()
        let_in = [
            interval(allowance, delay, acme=1_000)["acme"] for delay in ([LONG, LONG, 0.0] * 10)
        ]

        assert {1_000} == {*let_in}


class TestWithAQueue:
    def test_fewer_are_let_in_by_a_fifth_each_time(self) -> None:
        """Of 1,000 that come 800, then 640, then 512."""
        allowance = Allowance()
        let_in = [interval(allowance, LATE, acme=1_000)["acme"] for _ in range(SUSTAINED + 3)]

        assert [1_000] * SUSTAINED + [800, 640, 512] == let_in

    def test_half_of_them_where_it_is_long(self) -> None:
        """A flood is not waited for: of 1,000 that come 500, then 250."""
        allowance = Allowance()
        let_in = [interval(allowance, LONG, acme=1_000)["acme"] for _ in range(SUSTAINED + 2)]

        assert [1_000] * SUSTAINED + [500, 250] == let_in

    def test_some_are_always_let_in(self) -> None:
        """Or a delay that has another cause would end all service."""
        allowance = Allowance()
        for _ in range(100):
            let_in = interval(allowance, LATE, acme=1_000)

        assert {"acme": LEAST} == let_in

    def test_it_opens_again(self) -> None:
        """Once none waits, more are let in each time, until all are."""
        allowance = Allowance()
        for _ in range(20):
            interval(allowance, LATE, acme=1_000)
        let_in = [interval(allowance, 0.0, acme=1_000)["acme"] for _ in range(100)]

        assert sorted(let_in) == let_in
        assert 1_000 == let_in[-1]
        assert inf == allowance.limit


class TestTenants:
    def test_those_who_ask_for_most_go_first(self) -> None:
        """A flood of one is shed, and the others have all they ask for."""
        allowance = Allowance()
        for _ in range(SUSTAINED + 5):
            let_in = interval(allowance, LATE, acme=1_000, globex=20)

        assert 20 == let_in["globex"]
        assert let_in["acme"] < 400

    def test_are_bounded(self) -> None:
        """Names that callers make up cost no memory: beyond a thousand they count as one."""
        allowance = Allowance()
        for number in range(MOST_TENANTS * 3):
            allowance.take(Tenant(f"t{number}"))

        assert MOST_TENANTS + 1 == len(allowance._asked)


class TestAFairLevel:
    @pytest.mark.parametrize(
        ("wanted", "limit", "level"),
        [([10, 2, 9], 12, 5.0), ([10, 10], 100, 100), ([7], 3, 3.0), ([1, 1, 1], 0.5, 1.0)],
    )
    def test_gives_those_who_want_little_all_of_it(
        self, wanted: list[int], limit: float, level: float
    ) -> None:
        """What they leave is shared by the others; nobody has less than one."""
        assert level == fair_level(wanted, limit)


class TestAdmission:
    def test_says_when_to_come_back(self) -> None:
        """UNAVAILABLE, OVERLOADED, with a delay; and no slot is taken."""
        admission = Admission(max_calls=1_000, max_streams=1)
        for _ in range(SUSTAINED):
            for _ in range(200):
                admission.allowance.take(ACME)
            admission.allowance.sound(LATE)
        for _ in range(160):
            admission.enter(lasting=False, tenant=ACME)
            admission.leave(lasting=False)
        with pytest.raises(UnavailableError) as caught:
            admission.enter(lasting=False, tenant=ACME)

        assert ("OVERLOADED", 0.2) == (caught.value.reason, caught.value.retry_after)

    def test_streams_are_not_counted(self) -> None:
        """They last: how many begin says nothing of the load."""
        admission = Admission(max_calls=1, max_streams=100)
        for _ in range(100):
            admission.enter(lasting=True, tenant=GLOBEX)

        assert 0 == admission.allowance.asked
