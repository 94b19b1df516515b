"""How long a near cache may serve a copy, what it holds, and what it drops."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainstay.cache.near_store import OVERHEAD_BYTES, NearStore
from mainstay.cache.results import Hit
from mainstay.cache.watching import Heartbeat, Invalidation, Started, Watched, WatchEvent

TENANT = "acme"
# The clock on the wall, when the monotonic one says 0.
WALL = 1_750_000_000.0
WROTE = datetime.fromtimestamp(WALL, UTC)


def entry(value: bytes = b"v", **fields: Any) -> Hit:
    """Return an entry written at `WROTE` that may be kept for a minute."""
    return Hit(
        **{
            "value": value,
            "content_type": "",
            "version": 1,
            "create_time": WROTE,
            "expire_time": None,
            "near_max_age": timedelta(seconds=60),
            **fields,
        }
    )


class Stream:
    """Tells a store what happens, and beats for it."""

    def __init__(self, store: NearStore, tenant: str = TENANT) -> None:
        self.store = store
        self.tenant = tenant
        self.sequence = 0
        store.open(tenant, 0.0)
        self.tell(Started())

    def tell(self, event: WatchEvent, now: float = 0.0, *, ahead: float = 0.0) -> None:
        """Deliver a message; `ahead` is by how much the store's clock is ahead of ours."""
        previous = self.sequence
        if isinstance(event, Invalidation):
            self.sequence += 1
            at = datetime.fromtimestamp(WALL + now + ahead, UTC)
            event = Invalidation(
                entries=event.entries, tags=event.tags, prefixes=event.prefixes, invalidate_time=at
            )
        message = Watched(
            epoch="e", sequence=self.sequence, previous_sequence=previous, event=event
        )
        self.store.hear(self.tenant, message, now, WALL + now)

    def read(self, key: str, hit: Hit, now: float = 0.0, *, took: float = 0.0) -> bool:
        """Read an entry at `now` and receive the answer `took` later."""
        reading = self.store.begin(self.tenant, now, WALL + now)
        assert reading is not None
        kept = self.store.keep(reading, self.tenant, "video", key, hit, now + took)
        self.store.end(reading)
        return kept

    def served(self, key: str, now: float) -> bool:
        """Beat just before `now` and say whether the copy is served then."""
        self.tell(Heartbeat(), now)
        return self.store.get(self.tenant, "video", key, now) is not None


@pytest.fixture
def store() -> NearStore:
    """Return an empty store."""
    return NearStore(1_000_000)


@pytest.fixture
def stream(store: NearStore) -> Stream:
    """Return the stream of a tenant, up and running."""
    return Stream(store)


def beaten(stream: Stream, until: float) -> None:
    """Let the stream beat every second."""
    for second in range(int(until)):
        stream.tell(Heartbeat(), float(second))


class TestHowLong:
    @pytest.mark.parametrize(
        ("fields", "ends"),
        [
            pytest.param({}, 60.0, id="near_max_age"),
            pytest.param({"expire_time": WROTE + timedelta(seconds=7)}, 7.0, id="expiry"),
            pytest.param({"soft_expire_time": WROTE + timedelta(seconds=5)}, 5.0, id="soft expiry"),
        ],
    )
    def test_the_earliest_end_counts(
        self, stream: Stream, fields: dict[str, Any], ends: float
    ) -> None:
        """Neither past what the class allows, nor past soft or hard expiry."""
        stream.read("1", entry(**fields))
        beaten(stream, ends)

        assert stream.served("1", ends - 0.01)
        assert not stream.served("1", ends)

    def test_it_counts_from_when_the_request_was_sent(self, stream: Stream) -> None:
        """An answer that took two seconds may be two seconds old."""
        stream.read("1", entry(near_max_age=timedelta(seconds=3)), took=2.0)

        assert stream.served("1", 2.99)
        assert not stream.served("1", 3.0)

    def test_an_answer_that_took_too_long_is_not_kept(self, stream: Stream) -> None:
        """What was over before it arrived makes no room."""
        assert not stream.read("1", entry(near_max_age=timedelta(seconds=2)), took=2.0)

    def test_a_class_that_allows_none(self, stream: Stream) -> None:
        """Without `near_max_age` nothing is kept."""
        assert not stream.read("1", entry(near_max_age=None))

    def test_a_store_clock_that_is_ahead(self, stream: Stream) -> None:
        """Once an invalidation has shown how far, expiry comes so much sooner."""
        stream.tell(Invalidation(tags=("t",)), ahead=4.0)
        stream.read("1", entry(expire_time=WROTE + timedelta(seconds=7), sequence=1))
        beaten(stream, 3.0)

        assert stream.served("1", 2.99)
        assert not stream.served("1", 3.0)

    def test_an_entry_from_the_future(self, stream: Stream) -> None:
        """An entry that was written ten seconds from now shows it too."""
        hit = entry(
            create_time=WROTE + timedelta(seconds=10), expire_time=WROTE + timedelta(seconds=11)
        )
        stream.read("1", hit)

        assert stream.served("1", 0.99)
        assert not stream.served("1", 1.0)

    def test_a_store_clock_that_is_behind(self, stream: Stream) -> None:
        """It may be the delay of the message as well: nothing lives longer for it."""
        stream.tell(Invalidation(tags=("t",)), ahead=-5.0)
        stream.read("1", entry(expire_time=WROTE + timedelta(seconds=2), sequence=1))

        assert not stream.served("1", 2.0)


class TestSilence:
    def test_three_seconds_without_a_word(self, stream: Stream, store: NearStore) -> None:
        """Nothing is served, and nothing kept, until the stream is heard again."""
        stream.read("1", entry())

        assert store.get(TENANT, "video", "1", 2.99) is not None
        assert store.begin(TENANT, 3.0, WALL) is None
        assert store.get(TENANT, "video", "1", 3.0) is None

    def test_a_word_after_three_seconds(self, stream: Stream, store: NearStore) -> None:
        """Who was silent may have missed something: all copies go."""
        stream.read("1", entry())
        stream.tell(Heartbeat(), 3.0)

        assert store.get(TENANT, "video", "1", 3.0) is None
        assert store.flushes == 1

    def test_a_sequence_that_goes_back(self, stream: Stream, store: NearStore) -> None:
        """A history that shrank is another one, whatever it calls itself."""
        stream.tell(Invalidation(tags=("t",)))
        stream.read("1", entry(sequence=1))
        stream.sequence = 0
        stream.tell(Heartbeat())

        assert store.get(TENANT, "video", "1", 0.0) is None


class TestWhatIsConcerned:
    def test_a_prefix_is_literal(self, stream: Stream) -> None:
        """A star is a character like any other."""
        stream.read("a1", entry())
        stream.read("*1", entry())
        stream.tell(Invalidation(prefixes=(("video", "*"),)))

        assert (True, False) == (stream.served("a1", 0.0), stream.served("*1", 0.0))

    def test_an_entry_that_is_newer_than_the_invalidation(self, stream: Stream) -> None:
        """What has seen an invalidation before we hear of it stays."""
        stream.read("1", entry(tags=("t",), sequence=1))
        stream.tell(Invalidation(tags=("t",)))

        assert stream.served("1", 0.0)

    def test_a_key_always(self, stream: Stream) -> None:
        """Unless it is named by its key."""
        stream.read("1", entry(sequence=1))
        stream.tell(Invalidation(entries=(("video", "1"),)))

        assert not stream.served("1", 0.0)

    def test_another_tenant(self, store: NearStore) -> None:
        """Copies, and what makes them unfit, are each tenant's own."""
        acme, globex = Stream(store, "acme"), Stream(store, "globex")
        acme.read("1", entry(b"acme", tags=("t",)))
        globex.read("1", entry(b"globex", tags=("t",)))
        acme.tell(Invalidation(tags=("t",)))

        assert store.get("acme", "video", "1", 0.0) is None
        found = store.get("globex", "video", "1", 0.0)
        assert found is not None
        assert found.value == b"globex"

    def test_a_tenant_that_is_closed_and_opened(self, store: NearStore) -> None:
        """Nothing is left of what it had."""
        Stream(store).read("1", entry())
        store.close(TENANT)
        again = Stream(store)

        assert not again.served("1", 0.0)


class TestBounds:
    def test_the_least_recently_used_makes_room(self) -> None:
        """Of three copies where two have room, the one goes that was not asked for."""
        store = NearStore(2 * (OVERHEAD_BYTES + 100))
        stream = Stream(store)
        stream.read("1", entry())
        stream.read("2", entry())
        stream.served("1", 0.0)
        stream.read("3", entry())

        assert [True, False, True] == [stream.served(key, 0.0) for key in ("1", "2", "3")]

    def test_what_is_larger_than_all_the_room(self) -> None:
        """It is not kept, and costs the others nothing."""
        store = NearStore(OVERHEAD_BYTES + 100)
        stream = Stream(store)
        stream.read("1", entry())

        assert not stream.read("2", entry(bytes(1_000)))
        assert stream.served("1", 0.0)

    def test_bytes_are_given_back(self, stream: Stream, store: NearStore) -> None:
        """A copy that is replaced or dropped counts no more."""
        stream.read("1", entry(bytes(100)))
        stream.read("1", entry(bytes(10)))
        held = store.held_bytes
        stream.tell(Invalidation(entries=(("video", "1"),)))

        assert (OVERHEAD_BYTES + 10 + len("video1"), 0) == (held, store.held_bytes)

    def test_the_bound_covers_what_python_needs(self) -> None:
        """Ten thousand copies take no more memory than they count for."""
        store = NearStore(100_000_000)
        stream = Stream(store)
        tracemalloc.start()
        try:
            for number in range(10_000):
                moment = datetime.fromtimestamp(WALL + number, UTC)
                hit = entry(
                    bytes(100),
                    version=number + 1_000,
                    create_time=moment,
                    expire_time=moment + timedelta(hours=1),
                    soft_expire_time=moment + timedelta(minutes=30),
                    tags=(f"tag:{number}", f"other:{number}"),
                    near_max_age=timedelta(seconds=60 + number),
                )
                stream.read(f"key-{number}", hit)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert len(store) == 10_000
        assert taken <= store.held_bytes
        assert taken >= store.held_bytes / 2
