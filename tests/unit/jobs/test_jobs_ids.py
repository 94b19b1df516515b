"""Ids in order of their making."""

from itertools import count
from uuid import UUID

from services.jobs.ids import OrderedIds

SECOND = 1_000_000_000


def made(clock: list[int], entropy: bytes = b"\xff") -> list[UUID]:
    """Return an id for each time of the clock, in nanoseconds."""
    times = iter(clock)
    ids = OrderedIds(lambda: next(times), lambda size: entropy * size, lambda b: UUID(bytes=b))
    return [ids.next() for _ in clock]


class TestOrderedIds:
    def test_layout(self) -> None:
        """An id is a UUID of version 7 that begins with the milliseconds since 1970."""
        (made_now,) = made([1_700_000_000 * SECOND + 123_456_789])

        assert (7, "specified in RFC 4122") == (made_now.version, made_now.variant)
        assert 1_700_000_000_123 == made_now.int >> 80
        # 456 of 1,000 microseconds, in 4,096ths.
        assert 456 * 4096 // 1000 == made_now.int >> 64 & 0xFFF

    def test_at_once(self) -> None:
        """Ids of one moment are in order, also beyond what a moment has room for."""
        ids = made([SECOND] * 10_000)

        assert sorted(set(ids)) == ids

    def test_clock_steps_back(self) -> None:
        """A clock that is set back does not bring an id below the last one."""
        ids = made([2 * SECOND, SECOND, 2 * SECOND, 3 * SECOND])

        assert sorted(ids) == ids

    def test_random(self) -> None:
        """All the rest of an id is random, and no byte is used twice."""
        numbers = count()
        ids = OrderedIds(
            lambda: 0, lambda size: bytes(next(numbers) % 256 for _ in range(size)), _uuid
        )

        rest = {ids.next().int & ((1 << 62) - 1) for _ in range(32)}

        assert 32 == len(rest)


def _uuid(raw: bytes) -> UUID:
    return UUID(bytes=raw)
