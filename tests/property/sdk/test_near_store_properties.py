"""Whatever happens in whatever order, a near cache serves nothing it should know to be over."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from mainstay.cache import near_copies
from mainstay.cache.near_copies import Reading
from mainstay.cache.near_store import (
    OVERHEAD_BYTES,
    SILENCE_SECONDS,
    TAG_BYTES,
    NearStore,
)
from mainstay.cache.results import Hit
from mainstay.cache.watching import Heartbeat, Invalidation
from tests.property.sdk.plain_service import PlainService, Written

TENANT = "acme"
MAX_BYTES = 2 * (OVERHEAD_BYTES + 2 * TAG_BYTES + 50)
MAX_AGE = 5.0

NAMES = [("video", "a1"), ("video", "a2"), ("user", "a1")]
NAME = st.sampled_from(NAMES)
TAGS = st.sampled_from([(), ("red",), ("blue",), ("red", "blue")])
CHANGES = st.sampled_from(
    [
        Invalidation(entries=(("video", "a1"),)),
        Invalidation(tags=("red",)),
        Invalidation(prefixes=(("video", "a"),)),
        Invalidation(prefixes=(("video", "a2"),)),
        Invalidation(namespaces=("video",)),
        Invalidation(everything=True),
    ]
)


class Sent:
    """A read in flight: what was read, and what the service has answered."""

    def __init__(self, reading: Reading, namespace: str, key: str, found: Written | None) -> None:
        self.reading = reading
        self.namespace = namespace
        self.key = key
        self.found = found


class NearStoreMachine(RuleBasedStateMachine):
    """A store, the service it copies, and a stream between them that is late and loses things."""

    in_flight = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.service = PlainService()
        self.store = NearStore(MAX_BYTES)
        self.store.open(TENANT, self.now)
        self.received = (0, 0)
        self.heard = float("-inf")
        self.sent_at: dict[bytes, float] = {}
        for namespace, key in NAMES:
            self.write((namespace, key), ("red",), 60.0, by_us=False)
        self.service.restart_stream()
        self.deliver(1)

    @rule(name=NAME, tags=TAGS, life=st.sampled_from([2.0, 60.0]), by_us=st.booleans())
    def write(self, name: tuple[str, str], tags: tuple[str, ...], life: float, by_us: bool) -> None:
        """Write, or let somebody write."""
        with self.own(Invalidation(entries=(name,)), by_us):
            self.service.write(*name, tags=tags, now=self.now, life=life, by_us=by_us)

    @rule(change=CHANGES, by_us=st.booleans())
    def invalidate(self, change: Invalidation, by_us: bool) -> None:
        """Invalidate, or let somebody invalidate."""
        with self.own(change, by_us):
            self.service.change(change, by_us=by_us)

    @contextmanager
    def own(self, change: Invalidation, by_us: bool) -> Iterator[None]:
        """Drop copies before a change of our own, and after it."""
        if by_us:
            self.store.apply(TENANT, change)
        yield
        if by_us:
            self.store.apply(TENANT, change)

    @rule(target=in_flight, name=NAME)
    def send_read(self, name: tuple[str, str]) -> object:
        """Send a read, which the service answers at once; the answer is on its way."""
        reading = self.store.begin(TENANT, self.now, self.now)
        if reading is None:
            return multiple()
        return Sent(reading, *name, self.service.read(*name))

    @rule(sent=consumes(in_flight))
    def receive_read(self, sent: Sent) -> None:
        """Receive the answer."""
        if sent.found is not None:
            hit = sent.found.hit
            name = (TENANT, sent.namespace, sent.key)
            if self.store.keep(sent.reading, *name, hit, self.now):
                self.sent_at[hit.value] = sent.reading.sent
        self.store.end(sent.reading)

    @rule()
    def read_and_keep(self) -> None:
        """Read everything while nothing else happens."""
        for name in NAMES:
            sent = self.send_read(name)
            if isinstance(sent, Sent):
                self.receive_read(sent)

    @rule(most=st.integers(1, 3))
    def deliver(self, most: int) -> None:
        """Receive the next messages of the stream."""
        for _ in range(min(most, len(self.service.stream))):
            self.received, message = self.service.stream.popleft()
            self.store.hear(TENANT, message, self.now, self.now)
            self.heard = self.now

    @rule(change=CHANGES)
    def lose_message(self, change: Invalidation) -> None:
        """Let somebody invalidate, and lose the message that tells of it."""
        self.service.change(change)
        self.service.stream.pop()

    @rule(change=CHANGES, kind=st.sampled_from(["track", "track", "history", "stream"]))
    def lose(self, change: Invalidation, kind: str) -> None:
        """Lose track of what is invalidated, or its history, or the stream."""
        match kind:
            case "track":
                self.service.change(change)
                self.service.forget_last()
                self.service.lose_track()
            case "history":
                self.service.lose_history()
            case "stream":
                self.store.lose(TENANT)
                self.heard = float("-inf")
                self.service.restart_stream()

    @rule()
    def beat(self) -> None:
        """Let the service say that it is there."""
        self.service.tell(Heartbeat())

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @invariant()
    def look(self) -> None:
        """Be served what is fresh, as far as anybody here can know, or nothing."""
        assert self.store.held_bytes <= MAX_BYTES
        for namespace, key in NAMES:
            hit = self.store.get(TENANT, namespace, key, self.now)
            if hit is not None:
                self.check((namespace, key), hit)

    def check(self, name: tuple[str, str], hit: Hit) -> None:
        """Compare with what the service knows."""
        written = self.service.written[hit.version]
        assert name == written.name
        assert written.ended is None or written.ended > self.received
        assert not written.ended_by_us
        assert self.now < self.sent_at[hit.value] + MAX_AGE
        assert hit.expire_time is not None
        assert self.now < hit.expire_time.timestamp()
        assert self.now - self.heard < SILENCE_SECONDS


class ForgetfulMachine(NearStoreMachine):
    """The same with bounds so low that nothing is remembered one by one."""

    def __init__(self) -> None:
        super().__init__()
        self._bounds = near_copies.MOST_PREFIXES, near_copies.MOST_RECENT_NAMES
        near_copies.MOST_PREFIXES, near_copies.MOST_RECENT_NAMES = 0, 1

    def teardown(self) -> None:
        """Put the bounds back."""
        near_copies.MOST_PREFIXES, near_copies.MOST_RECENT_NAMES = self._bounds


TestNearStore = NearStoreMachine.TestCase
TestNearStore.settings = settings(max_examples=150, stateful_step_count=30)
TestForgetfulNearStore = ForgetfulMachine.TestCase
TestForgetfulNearStore.settings = settings(max_examples=100, stateful_step_count=30)
