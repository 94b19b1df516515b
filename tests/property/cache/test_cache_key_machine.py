"""Whatever is done to some keys on two replicas, in whatever order: a plain model knows the answer.

Redis, scripts, histories and leases are real. Time is moved by hand: every expiry in Redis comes
nearer by what the model's clock is moved. All spans are chosen so that none ends within some
seconds of a moment at which something happens, for so long the run itself may take.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.cache.answer import Failed, Fresh, Missing, NegativeKnown, Stale
from services.cache.cache import Cache, Item
from services.cache.entry import Entry
from services.cache.fill import Fill, FillState, Nothing, Unchanged, Value
from services.cache.invalidation import Invalidation
from services.cache.keys import EntryName
from services.cache.lease import Lease
from services.cache.policy import CachePolicy, TtlClass
from services.cache.recollection import Recollection
from shared.rpc.call import Tenant
from tests.integration.cache.computing.computing_replica import Replica, World, running

ACME = Tenant("acme")
NAMESPACE = "video"
KEYS = ("a/1", "b/1")
TAGS = ("x", "y")
PREFIXES = ("a/", "b/", "a/1")

TTL, SOFT, NEGATIVE, LEASE, THROTTLE = 3605, 1205, 885, 595, 295
STEPS = (130, 310, 610, 1210, 3700)
CLASS = TtlClass(
    name="general",
    ttl_ms=TTL * 1000,
    soft_ttl_ms=SOFT * 1000,
    negative_ttl_ms=NEGATIVE * 1000,
    early_refresh=0.0,
)


@dataclass(kw_only=True)
class Stored:
    """What the model thinks lies under a key; `value` None for the knowledge that it is nothing."""

    value: bytes | None
    tags: tuple[str, ...]
    seen: int
    soft_end: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Held:
    """A lease that somebody was given, for good or not."""

    key: str
    lease: Lease
    seen: int


@dataclass(kw_only=True)
class Key:
    """One key of the model."""

    stored: Stored | None = None
    lease: Held | None = None
    lease_end: float = 0
    throttle_end: float = 0


@dataclass(kw_only=True)
class Model:
    """The plain truth: dictionaries, a counter and a clock."""

    now: float = 0
    counter: int = 0
    keys: dict[str, Key] = field(default_factory=lambda: {key: Key() for key in KEYS})
    tags: dict[str, int] = field(default_factory=dict)
    prefixes: dict[str, int] = field(default_factory=dict)
    namespace: int = -1

    def concerned(self, key: str, tags: tuple[str, ...], seen: int) -> bool:
        """Return whether anything that concerns it was invalidated after `seen`."""
        marks = [self.namespace]
        marks += [self.tags.get(tag, -1) for tag in tags]
        marks += [at for prefix, at in self.prefixes.items() if key.startswith(prefix)]
        return max(marks) > seen

    def living(self, key: str) -> Stored | None:
        stored = self.keys[key].stored
        if stored is None or stored.end <= self.now:
            return None
        return None if self.concerned(key, stored.tags, stored.seen) else stored

    def holds(self, held: Held) -> bool:
        key = self.keys[held.key]
        return key.lease is held and key.lease_end > self.now

    def put(self, key: str, value: bytes | None, tags: tuple[str, ...], seen: int) -> None:
        ttl = TTL if value is not None else NEGATIVE
        soft = SOFT if value is not None else NEGATIVE
        stored = Stored(
            value=value, tags=tags, seen=seen, soft_end=self.now + soft, end=self.now + ttl
        )
        self.keys[key] = Key(stored=stored)


keys = st.sampled_from(KEYS)
replicas = st.integers(min_value=0, max_value=1)
# How many leases ago: mostly the last one, sometimes one that was lost.
backs = st.sampled_from((1, 1, 1, 2, 3))
tags = st.lists(st.sampled_from(TAGS), unique=True).map(tuple)


class KeyMachine(RuleBasedStateMachine):
    """Does to two replicas and to the model the same, and compares."""

    url = ""

    @initialize()
    def begin(self) -> None:
        """Start with an empty Redis and two replicas that know nothing."""
        self.loop = asyncio.new_event_loop()
        self.store = redis.Redis.from_url(self.url)
        self.store.flushall()
        self.world = World()
        self.world.policy.current = CachePolicy(classes={CLASS.name: CLASS}, default=CLASS)
        self.model = Model()
        self.numbers = 0
        self.granted: list[Held] = []
        self.grants: dict[bytes, float] = {}
        self.stack = AsyncExitStack()
        self.replicas = [self._started(), self._started()]

    def _started(self) -> tuple[Replica, Cache, Invalidation]:
        replica = self.run_in_loop(self.stack.enter_async_context(running(self.url, self.world)))
        invalidation = Invalidation(
            store=replica.store,
            log=replica.histories,
            charge=replica.usage,
            policies=self.world.policy,
        )
        cache = Cache(
            reader=replica.reader,
            store=replica.store,
            histories=replica.histories,
            invalidation=invalidation,
            key_log=replica.histories,
            charge=replica.usage,
            statistics=replica.statistics,
            policies=self.world.policy,
            recollection=Recollection(),
            now_ms=self.world.clock.now_ms,
            new_version=self._number,
            chance=lambda: 0.0,
            max_value_bytes=1_000,
            max_batch_bytes=100_000,
        )
        return replica, cache, invalidation

    def run_in_loop(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def teardown(self) -> None:
        """Stop what was started."""
        self.run_in_loop(self.stack.aclose())
        self.store.close()
        self.loop.close()

    def _number(self) -> int:
        self.numbers += 1
        return self.numbers

    def _new_value(self) -> bytes:
        return b"value %d" % self._number()

    @rule(on=replicas, key=keys, tagged=tags)
    def set(self, on: int, key: str, tagged: tuple[str, ...]) -> None:
        """Replace everything, and void leases and throttles."""
        value = self._new_value()
        _, cache, _ = self.replicas[on]
        self.run_in_loop(cache.set(ACME, NAMESPACE, Item(key=key, value=value, tags=tagged)))
        self.model.put(key, value, tagged, self.model.counter)

    @rule(on=replicas, key=keys)
    def delete(self, on: int, key: str) -> None:
        """Leave nothing, not even a lease."""
        _, cache, _ = self.replicas[on]
        self.run_in_loop(cache.delete(ACME, NAMESPACE, key))
        self.model.keys[key] = Key()

    @rule(on=replicas, what=st.sampled_from((*TAGS, *PREFIXES, NAMESPACE)))
    def invalidate(self, on: int, what: str) -> None:
        """Make everything stale that is concerned, what is being computed included."""
        invalidation, model = self.replicas[on][2], self.model
        model.counter += 1
        if what in TAGS:
            self.run_in_loop(invalidation.by_tags(ACME, [what]))
            model.tags[what] = model.counter
        elif what in PREFIXES:
            self.run_in_loop(invalidation.by_prefix(ACME, NAMESPACE, what))
            model.prefixes[what] = model.counter
        else:
            self.run_in_loop(invalidation.by_namespace(ACME, NAMESPACE))
            model.namespace = model.counter

    @rule(on=replicas, key=keys)
    def get(self, on: int, key: str) -> None:
        """Find what lives, however stale, and nothing else."""
        outcome = self.run_in_loop(self.replicas[on][1].get(ACME, NAMESPACE, key))
        living = self.model.living(key)
        found = outcome.value if isinstance(outcome, Entry) else None

        assert found == (living.value if living is not None else None)

    @rule(on=replicas, key=keys, fresh_only=st.booleans())
    def ask(self, on: int, key: str, fresh_only: bool) -> None:
        """Get what there is, and the lease only if nobody has it."""
        answer = self.run_in_loop(
            self.replicas[on][0].ask(
                EntryName(ACME, NAMESPACE, key),
                lease_ms=LEASE * 1000,
                wait_ms=0,
                fresh_only=fresh_only,
            )
        )
        model, known = self.model, self.model.keys[key]
        living, seen = model.living(key), model.counter
        free = known.lease is None or known.lease_end <= model.now
        calm = known.throttle_end <= model.now
        stale = living is not None and living.value is not None and living.soft_end <= model.now
        if living is not None and living.value is None:
            assert isinstance(answer, NegativeKnown)
            assert answer.lease is None
        elif living is not None and not stale:
            assert isinstance(answer, Fresh)
            assert (living.value, None) == (answer.entry.value, answer.lease)
        elif living is not None and not fresh_only:
            assert isinstance(answer, Stale)
            assert living.value == answer.entry.value
            assert (answer.lease is not None) == (free and calm)
        elif not calm:
            assert isinstance(answer, Failed)
        else:
            assert isinstance(answer, Missing)
            assert (answer.lease is not None) == free
        if answer.lease is None:
            return
        held = Held(key=key, lease=answer.lease, seen=seen)
        self.grants[answer.lease.token] = model.now
        self.model.keys[key] = Key(
            stored=known.stored, lease=held, lease_end=self.model.now + LEASE
        )
        self.granted.append(held)

    @precondition(lambda self: self.granted)
    @rule(on=replicas, back=backs, tagged=tags, empty=st.booleans())
    def fill(self, on: int, back: int, tagged: tuple[str, ...], empty: bool) -> None:
        """Store as the holder only, and only what nothing concerned since."""
        held = self._held(back)
        value = None if empty else self._new_value()
        found = Nothing() if value is None else Value(value=value)
        state = self._filled(on, held, Fill(lease_token=held.lease.token, found=found, tags=tagged))
        if self.model.concerned(held.key, tagged, held.seen):
            assert state is FillState.INVALIDATED
            self._freed(held)
        elif self.model.holds(held):
            assert state is FillState.STORED
            self.model.put(held.key, value, tagged, held.seen)
        else:
            assert state is FillState.LEASE_LOST

    @precondition(lambda self: self.granted)
    @rule(on=replicas, back=backs)
    def confirm(self, on: int, back: int) -> None:
        """Let a stale value begin anew, unless it was invalidated meanwhile."""
        held = self._held(back)
        if held.lease.stale_version is None or not self.model.holds(held):
            return
        version = held.lease.stale_version
        living, stored = self.model.living(held.key), self.model.keys[held.key].stored
        if stored is None or stored.end <= self.model.now:
            return
        fill = Fill(lease_token=held.lease.token, found=Unchanged(version=version))
        state = self._filled(on, held, fill)
        if living is None:
            assert state is FillState.INVALIDATED
            self._freed(held)
        else:
            assert state is FillState.STORED
            self.model.put(held.key, living.value, living.tags, held.seen)

    def _held(self, back: int) -> Held:
        return self.granted[-min(back, len(self.granted))]

    def _filled(self, on: int, held: Held, fill: Fill) -> FillState:
        filling = self.replicas[on][0].filling
        filled = self.run_in_loop(filling.fill(ACME, NAMESPACE, held.key, fill))
        assert isinstance(filled.state, FillState)
        return filled.state

    @precondition(lambda self: self.granted)
    @rule(on=replicas, back=backs, failed=st.booleans())
    def abandon(self, on: int, back: int, failed: bool) -> None:
        """Let the next one compute at once, or, after a failure, nobody for a while."""
        held = self._held(back)
        was_held = self.run_in_loop(
            self.replicas[on][0].filling.abandon(
                ACME,
                NAMESPACE,
                held.key,
                held.lease.token,
                error="the source is down" if failed else "",
                throttle_ms=THROTTLE * 1000,
            )
        )

        assert self.model.holds(held) == was_held
        if was_held:
            self._freed(held)
            if failed:
                self.model.keys[held.key].throttle_end = self.model.now + THROTTLE

    @precondition(lambda self: self.granted)
    @rule(on=replicas, back=backs)
    def extend(self, on: int, back: int) -> None:
        """Lengthen a lease that is held; one that was lost stays lost."""
        held = self._held(back)
        granted = self.run_in_loop(
            self.replicas[on][0].filling.extend(
                ACME, NAMESPACE, held.key, held.lease.token, LEASE * 1000
            )
        )
        age = self.model.now - self.grants[held.lease.token]
        if self.model.holds(held) and age + LEASE < 3600:
            assert granted == LEASE * 1000
        if granted:
            assert self.model.holds(held)
            self.model.keys[held.key].lease_end = self.model.now + granted / 1000

    def _freed(self, held: Held) -> None:
        if self.model.holds(held):
            key = self.model.keys[held.key]
            self.model.keys[held.key] = replace(key, lease=None)

    @rule(step=st.sampled_from(STEPS))
    def pass_time(self, step: int) -> None:
        """Everything in Redis that ends comes nearer to its end."""
        self.model.now += step
        self.world.clock.ahead_ms += step * 1000
        for key in self.store.scan_iter(match="{*:cache:*}*"):
            left = self.store.pttl(key)
            if left >= 0:
                self.store.pexpire(key, left - step * 1000)


def test_a_plain_model_knows_every_answer(session_redis_url: str) -> None:
    """Two replicas, two keys, every method, and time."""
    machine = type("Machine", (KeyMachine,), {"url": session_redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=50,
            stateful_step_count=50,
            suppress_health_check=list(HealthCheck),
        ),
    )
