"""Places that a replica gives out by itself: bounded, and handed over without losing any."""

import pytest

from services.ratelimit import local_leases
from services.ratelimit.lending_ports import Holder, LeaseName
from services.ratelimit.local_leases import LocalLeases
from shared.rpc.call import Tenant

NOW = 1_760_000_000_000_000
MINUTE = 60_000_000
A, B = b"a" * 16, b"b" * 16


def holder(number: int = 0) -> Holder:
    return Holder(Tenant("acme"), "video", f"user:{number}")


def acquire(leases: LocalLeases, number: int, *, now: int = NOW, lease: bytes = A) -> bool:
    _, end = leases.acquire(holder(number), now=now, places=1, lease=lease, ttl=MINUTE)
    return end is not None


@pytest.fixture
def leases() -> LocalLeases:
    """Hold nothing."""
    return LocalLeases()


class TestHolders:
    def test_each_subject_has_its_own_places(self, leases: LocalLeases) -> None:
        """Until they are given back or over."""
        taken = [acquire(leases, 1), acquire(leases, 1, lease=B), acquire(leases, 2)]
        released = leases.release(LeaseName(holder(1), A), now=NOW)
        later = [
            acquire(leases, 1, lease=B),
            acquire(leases, 2, lease=B, now=NOW + MINUTE),
        ]

        assert ([True, False, True], True, [True, True]) == (taken, released, later)

    def test_nothing_is_kept_of_who_holds_nothing(self, leases: LocalLeases) -> None:
        """Denied, looked at, released or renewed too late."""
        acquire(leases, 1)
        leases.release(LeaseName(holder(1), A), now=NOW)
        leases.look(holder(2), now=NOW, places=1)
        leases.release(LeaseName(holder(3), A), now=NOW)
        leases.renew(LeaseName(holder(4), A), now=NOW, ttl=MINUTE)

        assert len(leases) == 0


class TestBound:
    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_leases, "MAX_HOLDERS", 3)

    def test_who_comes_when_all_is_full_is_denied(self, leases: LocalLeases) -> None:
        """Those who hold something already are not."""
        taken = [acquire(leases, number) for number in range(4)]
        verdict, _ = leases.acquire(holder(4), now=NOW, places=1, lease=A, ttl=MINUTE)
        again = acquire(leases, 2)

        assert ([True, True, True, False], True) == (taken, again)
        assert (False, 3) == (verdict.admits, len(leases))

    def test_those_whose_leases_are_over_make_room(self, leases: LocalLeases) -> None:
        """Whoever renews is not among them."""
        for number in range(3):
            acquire(leases, number, now=NOW + number)
        leases.renew(LeaseName(holder(0), A), now=NOW + MINUTE - 1, ttl=MINUTE)
        taken = [acquire(leases, number, now=NOW + MINUTE + 1) for number in (3, 4)]

        assert [True, False] == taken
        assert holder(0) in dict(leases.held())


class TestHandingOver:
    def test_what_is_handed_over_is_forgotten(self, leases: LocalLeases) -> None:
        """It is somebody else's then."""
        acquire(leases, 1)
        for each, holders in leases.held():
            leases.forget(each, holders)

        assert len(leases) == 0

    def test_but_not_what_has_changed_meanwhile(self, leases: LocalLeases) -> None:
        """A longer end, or another lease, was not handed over."""
        acquire(leases, 1)
        held = leases.held()
        leases.renew(LeaseName(holder(1), A), now=NOW + 1, ttl=MINUTE)
        for each, holders in held:
            leases.forget(each, holders)

        assert dict(leases.held())[holder(1)].ends == {A: NOW + 1 + MINUTE}
