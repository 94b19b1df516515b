"""How full a queue is, and what is too much for it."""

from dataclasses import dataclass

from services.jobs.function import Overflow

RETRY_AFTER = 1.0
"""Seconds after which a caller may try a full queue again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullness:
    """What is ready in the queue of a function and tenant; `oldest` has waited so many seconds."""

    depth: int = 0
    size: int = 0
    oldest: float = 0.0

    def with_job(self, size: int) -> "Fullness":
        """Return the queue with one more job whose payload takes `size` bytes."""
        return Fullness(depth=self.depth + 1, size=self.size + size, oldest=self.oldest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """What has to leave a queue, the longest waiting first: so many jobs, so many bytes."""

    jobs: int
    size: int
    max_age: float | None

    def __bool__(self) -> bool:
        return self.jobs > 0 or self.size > 0 or self.max_age is not None


def too_much(overflow: Overflow, fullness: Fullness, size: int) -> str:
    """Return why one more job with `size` bytes has no room; empty when it has."""
    if overflow.max_depth and fullness.depth + 1 > overflow.max_depth:
        return f"{fullness.depth:,} jobs are ready, of {overflow.max_depth:,} that may be"
    if overflow.max_bytes and fullness.size + size > overflow.max_bytes:
        taken = f"the ready ones take {fullness.size:,} of {overflow.max_bytes:,} bytes"
        return f"a payload of {size:,} bytes has no room: {taken}"
    if overflow.max_age is not None and fullness.oldest > overflow.max_age:
        return f"the oldest has waited {fullness.oldest:.0f} s, longer than {overflow.max_age:g} s"
    return ""


def excess(overflow: Overflow, fullness: Fullness) -> Excess:
    """Return what has to leave so that the queue is within its bounds."""
    too_old = overflow.max_age is not None and fullness.oldest > overflow.max_age
    return Excess(
        jobs=max(fullness.depth - overflow.max_depth, 0) if overflow.max_depth else 0,
        size=max(fullness.size - overflow.max_bytes, 0) if overflow.max_bytes else 0,
        max_age=overflow.max_age if too_old else None,
    )
