"""The books, whatever is written, replaced and removed while time passes: they equal a recount."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cache.entry import Entry
from services.cache.keys import EntryName
from services.cache.policy import Quota
from services.cache.quota import bucket_end, charged_bytes, of_class
from services.cache.redis_usage import Usage
from shared.rpc.call import Tenant
from tests.integration.cache.bookkeeping import Bookkeeping, policies

CLASS = "embeddings"
_tenants = count(1)

keys = st.sampled_from("abcd")
ttls = st.none() | st.integers(min_value=1, max_value=100_000_000)
steps = st.lists(
    st.tuples(st.just("write"), keys, ttls, st.integers(0, 5_000))
    | st.tuples(st.just("refuse"), keys, ttls, st.integers(0, 5_000))
    | st.tuples(st.just("remove"), keys)
    | st.tuples(st.just("grow"), keys, st.integers(1, 500))
    | st.tuples(st.just("shrink"), keys, st.integers(1, 50))
    | st.tuples(st.just("pass"), st.integers(1, 200_000_000))
    | st.tuples(st.just("settle")),
    max_size=40,
)


@dataclass
class Recount:
    """What a scan would find, if one took place: every entry that was booked and has not ended."""

    now_ms: int = 1_700_000_000_000
    there: dict[str, Entry] = field(default_factory=dict)
    ended: list[Entry] = field(default_factory=list)
    versions: "count[int]" = field(default_factory=lambda: count(1))

    def entry(self, name: EntryName, ttl_ms: int | None, size: int) -> Entry:
        return Entry(
            value=b"",
            content_type="",
            version=next(self.versions),
            create_ms=self.now_ms,
            soft_expiry_ms=None,
            expiry_ms=None if ttl_ms is None else self.now_ms + ttl_ms,
            stamp=0,
            ttl_class=CLASS if ttl_ms is None else "",
            charged=charged_bytes(name, size, permanent=ttl_ms is None),
        )

    def end(self) -> None:
        """Forget what Redis would have ended by now, but for the books."""
        for key, entry in list(self.there.items()):
            if entry.expiry_ms is not None and entry.expiry_ms <= self.now_ms:
                self.ended.append(self.there.pop(key))

    def used(self) -> dict[str, int]:
        counting = [entry for entry in self.ended if self.counts(entry)]
        counting += self.there.values()
        permanent = [entry for entry in counting if entry.expiry_ms is None]
        return {
            "entries": len(counting),
            "bytes": sum(entry.charged for entry in counting),
            of_class(CLASS): sum(entry.charged for entry in permanent),
        }

    def counts(self, entry: Entry) -> bool:
        assert entry.expiry_ms is not None
        return bucket_end(entry.create_ms, entry.expiry_ms) * 1000 > self.now_ms


@pytest.fixture(scope="module")
def books(session_redis_url: str) -> Iterator[tuple[asyncio.Runner, Bookkeeping]]:
    """Open the books once for all examples; each example is a tenant of its own."""
    with asyncio.Runner() as runner:
        opened = Bookkeeping.on(session_redis_url, policies(Quota(), **{CLASS: None}))
        yield runner, runner.run(opened.__aenter__())
        runner.run(opened.__aexit__(None, None, None))


class TestBooks:
    @given(steps)
    @settings(max_examples=80)
    def test_equal_a_recount_once_all_is_settled(
        self, books: tuple[asyncio.Runner, Bookkeeping], history: list[tuple[object, ...]]
    ) -> None:
        """Entries and bytes are those of what was written and has neither gone nor ended."""
        runner, kept = books

        used, expected = runner.run(_play(kept, history))

        assert expected == used

    @given(st.integers(1, 366 * 86_400_000), st.integers(1, 2**41))
    def test_count_an_entry_until_it_ends_and_little_longer(
        self, ttl_ms: int, create_ms: int
    ) -> None:
        """Never shorter; longer by a sixteenth of its TTL at most, or a second."""
        end_ms = bucket_end(create_ms, create_ms + ttl_ms) * 1000

        assert 0 <= end_ms - (create_ms + ttl_ms) <= max(1_000, ttl_ms // 16)


async def _play(
    kept: Bookkeeping, history: list[tuple[object, ...]]
) -> tuple[dict[str, int], dict[str, int]]:
    tenant, recount = Tenant(f"tenant{next(_tenants)}"), Recount()
    for step in history:
        kept.settlements.clock = recount.now_ms // 1000
        await _take(kept.usage, tenant, recount, step)
    kept.settlements.clock = recount.now_ms // 1000
    recount.end()
    used = {holding.quota: holding.used for holding in await kept.usage.holdings(tenant)}
    return used, recount.used()


async def _take(usage: Usage, tenant: Tenant, recount: Recount, step: tuple[object, ...]) -> None:
    recount.end()
    name = EntryName(tenant, "n", str(step[1]) if len(step) > 1 else "")
    there = recount.there.get(name.key)
    match step:
        case ("write" | "refuse" as what, str(key), int() | None as ttl_ms, int(size)):
            entry = recount.entry(name, ttl_ms, size)
            await usage.admit(name, entry)
            gone = entry if what == "refuse" else there
            if gone is not None:
                usage.settle(name, gone)
            if what == "write":
                recount.there[key] = entry
        case ("remove", str(key)) if there is not None:
            usage.settle(name, recount.there.pop(key))
        case ("grow", str(key), int(by)) if there is not None:
            await usage.grow(name, there, by)
            recount.there[key] = there._replace(charged=there.charged + by)
        case ("shrink", str(key), int(by)) if there is not None:
            usage.shrink(name, there, by)
            recount.there[key] = there._replace(charged=there.charged - by)
        case ("pass", int(span)):
            recount.now_ms += span
        case ("settle",):
            await usage.flush_once()
