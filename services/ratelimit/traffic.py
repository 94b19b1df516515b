"""Recent checks, of some subjects, for previews of a policy.

A subject is recorded completely or not at all: of half its checks nobody could tell when it would
have been denied. So a check is taken by its subject's rank, a number that is the same on every
replica: those below a bound are taken. Where there are too many, the bound is lowered, and what has
been taken above it goes.

What is alike is counted: a subject that does the same a thousand times a second is one check with a
number every tenth of a second. Or the bound would be lowered until those were gone that a limit is
for. All times are microseconds since 1970.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson

from shared.rpc.call import Tenant

RANKS = 2**32
"""Ranks are below it; it is the bound that takes everybody."""

SLOT = 100_000
"""Microseconds within which checks that are alike are counted."""

_LOWER = 0.7


class RecordedCheck(NamedTuple):
    """One check, as much of it as a replay needs.

    Attributes:
        at: When it was decided; the beginning of its slot.
        tenant: Whose.
        subject: Who acted.
        endpoint: What it wanted to do.
        plan: On which plan, as far as is known.
        cost: At what cost.

    """

    at: int
    tenant: Tenant
    subject: str
    endpoint: str
    plan: str
    cost: int


Checks = dict[RecordedCheck, int]
"""Checks, and how many there were of each."""


class Batch(NamedTuple):
    """What one replica recorded for a while: all checks of subjects whose rank is below `bound`."""

    begin: int
    bound: int
    checks: Checks


def rank(tenant: str, subject: str) -> int:
    """Return the rank of a subject."""
    return zlib.crc32(subject.encode(), zlib.crc32(tenant.encode()))


class Sample:
    """Checks of the subjects below a bound, which goes down when there are too many.

    There are `size` different ones at most, and `total` of them all.
    """

    def __init__(self, *, size: int, total: int | None = None, bound: int = RANKS) -> None:
        self._size = size
        self._total = total
        self._count = 0
        self.bound = bound
        self.checks: Checks = {}

    def takes(self, tenant: str, subject: str) -> bool:
        """Return whether the subject's checks belong here."""
        return self.bound == RANKS or rank(tenant, subject) < self.bound

    def add(self, check: RecordedCheck, count: int = 1) -> None:
        """Add the checks of a subject that belongs here."""
        self.checks[check] = self.checks.get(check, 0) + count
        self._count += count
        while self._is_full():
            self.lower(int(self.bound * _LOWER))

    def lower(self, bound: int) -> None:
        """Lower the bound, if it is higher, and let go of what no longer belongs here."""
        if bound < self.bound:
            self.bound = bound
            self.checks = {
                check: count
                for check, count in self.checks.items()
                if rank(check.tenant, check.subject) < bound
            }
            self._count = sum(self.checks.values())

    def _is_full(self) -> bool:
        too_many = self._total is not None and self._count > self._total
        return too_many or len(self.checks) > self._size


def encode(batch: Batch) -> bytes:
    """Return a batch as it is stored: JSON in columns, deflated."""
    texts: dict[str, int] = {}
    rows = [
        [
            check.at - batch.begin,
            *(
                texts.setdefault(text, len(texts))
                for text in (check.tenant, check.subject, check.endpoint, check.plan)
            ),
            check.cost,
            count,
        ]
        for check, count in batch.checks.items()
    ]
    content = {
        "begin": batch.begin,
        "bound": batch.bound,
        "texts": [*texts],
        "columns": [*zip(*rows, strict=True)],
    }
    return zlib.compress(orjson.dumps(content), level=1)


def decode(data: bytes) -> Batch:
    """Return a batch that `encode` made; raises ValueError for anything else."""
    try:
        content = orjson.loads(zlib.decompress(data))
        begin, bound, texts = content["begin"], content["bound"], content["texts"]
        rows = zip(*content["columns"], strict=True)
        return Batch(begin, bound, dict(_checks(begin, texts, rows)))
    except (zlib.error, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"is no batch of recorded checks: {error}") from error


def _checks(
    begin: int, texts: list[str], rows: Iterable[tuple[int, ...]]
) -> Iterator[tuple[RecordedCheck, int]]:
    for after, tenant, subject, endpoint, plan, cost, count in rows:
        check = RecordedCheck(
            begin + after,
            Tenant(texts[tenant]),
            texts[subject],
            texts[endpoint],
            texts[plan],
            cost,
        )
        yield check, count
