"""How long entries live, when they are refreshed, and for how long clients may keep copies."""

import math

import pytest

from mainstay.errors import PreconditionError
from services.cache.copies import Copies
from services.cache.entry import Entry, Kind
from services.cache.expiries import life, life_again
from services.cache.lifetimes import Life, life_in_class, refreshes_early
from services.cache.policy import CachePolicy, InClass, Lifetime, TtlClass

NOW = 1_000_000
VIDEO = TtlClass(
    name="video",
    ttl_ms=60_000,
    soft_ttl_ms=40_000,
    negative_ttl_ms=5_000,
    jitter=0.5,
    near_max_age_ms=10_000,
)
FOREVER = TtlClass(name="forever", ttl_ms=None, max_bytes=1)
POLICY = CachePolicy(classes={"video": VIDEO, "forever": FOREVER}, default=VIDEO)
ENTRY = Entry(
    value=b"",
    content_type="",
    version=1,
    create_ms=NOW,
    soft_expiry_ms=NOW + 40_000,
    expiry_ms=NOW + 60_000,
    stamp=1,
    ttl_class="video",
    near=True,
)


class TestJitter:
    @pytest.mark.parametrize(
        ("chance", "ttl_ms", "soft_ttl_ms"),
        [(0.0, 60_000, 40_000), (0.5, 45_000, 30_000), (1 - 2**-53, 30_000, 20_000)],
    )
    def test_shortens_both_by_the_same_share(
        self, chance: float, ttl_ms: int, soft_ttl_ms: int
    ) -> None:
        """What is written together does not end together, and nothing lives longer than said."""
        assert Life(ttl_ms, soft_ttl_ms, "video", near=True) == life_in_class(VIDEO, chance)

    def test_leaves_a_writer_s_own_ttl_alone(self) -> None:
        """Who says how long gets so long."""
        lived, faults = life(POLICY, Lifetime(ttl_ms=1_234), 0.9)

        assert (Life(1_234, None, "", near=False), {"ttl": None}) == (lived, faults)

    def test_never_leaves_nothing(self) -> None:
        """A TTL of zero would be none at all."""
        shortest = TtlClass(name="shortest", ttl_ms=1, jitter=0.5)

        assert life_in_class(shortest, 0.9).ttl_ms == 1


class TestNegatives:
    def test_live_as_long_as_their_class_says(self) -> None:
        """Shorter than values, and no client keeps one."""
        lived, _ = life(POLICY, InClass(name="video"), 0.0, negative=True)

        assert Life(5_000, None, "video", near=False) == lived


class TestLivingOn:
    def test_in_its_own_class(self) -> None:
        """Whoever says nothing means: as before."""
        assert life_again(POLICY, ENTRY, None, 0.0).ttl_ms == 60_000

    def test_does_not_become_permanent(self) -> None:
        """The index that permanent entries are evicted by would not know it."""
        with pytest.raises(PreconditionError, match="write it anew"):
            life_again(POLICY, ENTRY, InClass(name="forever"), 0.0)

    def test_as_a_negative(self) -> None:
        """Still nothing, for as long as one believes in nothing."""
        negative = ENTRY._replace(kind=Kind.NEGATIVE)

        assert life_again(POLICY, negative, None, 0.0).ttl_ms == 5_000


class TestEarlyRefresh:
    @pytest.mark.parametrize(
        ("ahead_ms", "chance", "expected"),
        [
            (0, 0.0, True),  # at the soft expiry everybody refreshes
            (1, 0.0, False),
            # -log(1 - chance) computations ahead: 1 - 1/e is one of them
            (1_000, 1 - math.exp(-1) + 1e-6, True),
            (1_000, 1 - math.exp(-1) - 1e-3, False),
            (5_000, 0.99, False),
            (5_000, 0.9999, True),
        ],
    )
    def test_is_likelier_the_nearer_the_end(
        self, ahead_ms: int, chance: float, expected: bool
    ) -> None:
        """And the longer the computation takes, here a second."""
        refreshes = refreshes_early(
            now_ms=NOW,
            soft_expiry_ms=NOW + ahead_ms,
            compute_ms=1_000,
            beta=1.0,
            chance=chance,
        )

        assert expected == refreshes

    @pytest.mark.parametrize(("beta", "compute_ms"), [(0.0, 1_000), (1.0, 0)])
    def test_is_off_where_it_makes_no_sense(self, beta: float, compute_ms: int) -> None:
        """For classes that do not want it, and for what nobody computed."""
        assert not refreshes_early(
            now_ms=NOW, soft_expiry_ms=NOW + 1, compute_ms=compute_ms, beta=beta, chance=0.999
        )


class _Policies:
    current = POLICY
    problem = ""


class TestCopies:
    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            (NOW, 10_000),
            (NOW + 35_000, 5_000),  # up to the soft expiry and no further
            (NOW + 40_000, None),
            (NOW + 50_000, None),
        ],
    )
    def test_are_kept_until_the_soft_expiry_at_most(self, now: int, expected: int | None) -> None:
        """The time that is left is told, so that no client needs the store's clock."""
        assert expected == Copies(_Policies(), lambda: now).max_age_ms(ENTRY)

    @pytest.mark.parametrize("other", [{"near": False}, {"ttl_class": "gone"}])
    def test_are_not_kept_of_others(self, other: dict[str, object]) -> None:
        """Operators decide for which classes; one that has gone from the policy has no copies."""
        entry = ENTRY._replace(**other)  # type: ignore[arg-type]

        assert Copies(_Policies(), lambda: NOW).max_age_ms(entry) is None

    def test_of_what_never_ends_are_kept_as_long_as_the_class_says(self) -> None:
        """There is no end to be minded."""
        entry = ENTRY._replace(soft_expiry_ms=None, expiry_ms=None)

        assert Copies(_Policies(), lambda: NOW).max_age_ms(entry) == 10_000
