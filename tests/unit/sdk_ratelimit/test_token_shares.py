"""Shares of a limit that are at hand."""

from datetime import UTC, datetime, timedelta

import pytest

from mainstay.ratelimit.results import Decision, TokenReservation
from mainstay.ratelimit.shares import UNLIMITED_AMOUNT, Share, Shares, reserved, unnamed

NOW = 1_000.0


def decision(rule: str = "chat") -> Decision:
    return Decision(
        allowed=True,
        rule=rule,
        plan="",
        limit=100,
        window=60.0,
        remaining=50,
        reset_time=None,
        retry_after=None,
        headers={},
    )


def share(left: int, *, token: str = "a", ages: float = 5, ends: float = 10) -> Share:
    return Share(token=token, left=left, ages=NOW + ages, ends=NOW + ends, decision=decision(token))


def holding(size: int, *shares: Share) -> Shares:
    found = Shares(size)
    for each in shares:
        found.add(each, NOW)
    return found


class TestReservation:
    def test_ends_here_before_it_ends_there(self) -> None:
        """Counted from when it was asked for, and with a margin for the clocks."""
        reservation = TokenReservation(
            token="a",
            amount=7,
            expire_time=datetime.now(UTC),
            ttl=timedelta(seconds=100),
        )
        made = reserved(reservation, decision(), NOW)

        assert (7, "a") == (made.left, made.token)
        assert NOW + 95 == made.ends
        assert NOW < made.ages < made.ends

    def test_of_what_is_unlimited_has_no_name(self) -> None:
        """Nothing of it needs to be given back."""
        made = unnamed(decision(), NOW, 2.0, UNLIMITED_AMOUNT)

        assert ("", UNLIMITED_AMOUNT, NOW + 2.0) == (made.token, made.left, made.ends)


class TestTaking:
    def test_the_oldest_is_spent_first(self) -> None:
        """It ends first."""
        shares = holding(10, share(2), share(8, token="b"))
        taken = [shares.take(1, NOW), shares.take(1, NOW), shares.take(1, NOW)]

        assert ["a", "a", "b"] == [each.rule for each in taken if each]
        assert 7 == shares.held(NOW)

    def test_several_pay_for_one_cost(self) -> None:
        """All of it or nothing."""
        shares = holding(10, share(2), share(8, token="b"))
        too_much = shares.take(11, NOW)
        taken = shares.take(5, NOW)

        assert too_much is None
        assert taken is not None
        assert 5 == shares.held(NOW)

    def test_what_has_ended_is_not_spent(self) -> None:
        """Whether it is the first or one of several."""
        shares = holding(10, share(5, ends=1), share(5, token="b"))
        late = NOW + 1
        taken = shares.take(5, late)

        assert taken is not None
        assert "b" == taken.rule
        assert (None, 0) == (shares.take(1, late), shares.held(late))

    @pytest.mark.parametrize("cost", [0, -1, -5])
    def test_no_cost_is_refused(self, cost: int) -> None:
        """A negative one would make the share larger."""
        shares = holding(10, share(5))

        assert (None, 5) == (shares.take(cost, NOW), shares.held(NOW))

    def test_nothing_is_there_at_first(self) -> None:
        """So the first spender waits."""
        assert Shares(10).take(1, NOW) is None


class TestRefilling:
    @pytest.mark.parametrize(("left", "lacking"), [(10, 0), (5, 0), (4, 6), (1, 9)])
    def test_begins_below_half(self, left: int, lacking: int) -> None:
        """And asks for what is missing, so that never more than the size is held."""
        assert lacking == holding(10, share(left)).lacking(NOW)

    def test_of_a_size_of_one_begins_when_it_is_spent(self) -> None:
        """There is no half of it."""
        shares = holding(1, share(1))
        before = shares.lacking(NOW)
        shares.take(1, NOW)

        assert (0, 1) == (before, shares.lacking(NOW))

    def test_begins_before_a_share_ends(self) -> None:
        """However much of it is left: it will be of no use."""
        shares = holding(10, share(10, ages=5))

        assert (0, 10) == (shares.lacking(NOW + 4), shares.lacking(NOW + 5))

    def test_replaces_what_ages_by_the_new(self) -> None:
        """So that together they are never larger than the size."""
        shares = holding(10, share(9, ages=5))
        replaced = shares.add(share(10, token="b", ages=15), NOW + 5)

        assert [("a", 9)] == [(each.token, each.left) for each in replaced]
        assert 10 == shares.held(NOW + 5)

    def test_keeps_what_ages_where_there_is_room(self) -> None:
        """A limit that is nearly used up gives little."""
        shares = holding(10, share(9, ages=5))
        replaced = shares.add(share(1, token="b", ages=15), NOW + 5)

        assert ([], 10) == (replaced, shares.held(NOW + 5))


class TestEnds:
    def test_are_known_in_time(self) -> None:
        """So that what was not spent can be given back."""
        shares = holding(10, share(3, ends=9), share(4, token="b", ends=7))
        first = shares.next_end()
        ended = shares.remove_ended(NOW + 7)

        assert NOW + 7 == first
        assert ["b"] == [each.token for each in ended]
        assert NOW + 9 == shares.next_end()

    def test_of_all(self) -> None:
        """When nobody spends any more."""
        shares = holding(10, share(3), share(4, token="b"))
        removed = shares.remove_all()

        assert ["a", "b"] == [each.token for each in removed]
        assert (None, 0) == (shares.next_end(), shares.held(NOW))
