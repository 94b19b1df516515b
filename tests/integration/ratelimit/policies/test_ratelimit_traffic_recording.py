"""Recent checks are recorded in Redis, and replayed against another policy."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.errors import RateLimitStoreError, ValidationError
from services.ratelimit.act import Act
from services.ratelimit.decision import Decision, PlanSource, decided
from services.ratelimit.overrides import Override
from services.ratelimit.policy import SECOND, Policy
from services.ratelimit.policy_file import parse_policy
from services.ratelimit.policy_metrics import traffic_dropped
from services.ratelimit.policy_reading import PolicyReading
from services.ratelimit.ports import AssignedPlan
from services.ratelimit.preview import RulePreview, SubjectPreview
from services.ratelimit.previewing import MAX_WINDOW, Previewed, Previewing
from services.ratelimit.redis_traffic import KEPT, KEY, RedisTraffic, TrafficRecorder
from services.ratelimit.traffic import RANKS, Batch, RecordedCheck
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.integration.ratelimit.policies.policy_replica import ACME, text_of

OTHER = Tenant("other")
MINUTE = 60 * SECOND


class Directory:
    """Knows that Ann is on a plan."""

    def at_hand(self, tenant: Tenant, subject: str) -> AssignedPlan | None:
        return AssignedPlan("pro") if subject == "ann" else None

    async def find(self, tenant: Tenant, subject: str) -> AssignedPlan:
        raise AssertionError("a check must not wait")


class NoOverrides:
    """Nobody has limits of his own."""

    def find_under(
        self, policy: Policy, tenant: Tenant, rule: str, subject: str
    ) -> Override | None:
        return None


class Fixed:
    """A policy that stays."""

    current = parse_policy(text_of("5/min"), "ratelimit.yaml")


class Recording:
    """A recorder, a reader, and a clock that goes by hand; it begins with that of Redis."""

    def __init__(self, redis: Redis, now: int, *, batch_size: int = 500) -> None:
        self.now = now
        self.recorder = TrafficRecorder(redis, Directory(), batch_size=batch_size)
        self.traffic = RedisTraffic(redis, lambda: self.now + MINUTE)
        self.previewing = Previewing(
            policies=Fixed(),
            reading=PolicyReading(),
            traffic=self.traffic,
            overrides=NoOverrides(),
            write_recent=self.recorder.run_once,
            now_us=lambda: self.now,
        )

    def check(
        self, subject: str = "ann", *, tenant: Tenant = ACME, plan: str = "", ago: int = 0
    ) -> None:
        """Tell of a check, as the limiter does."""
        act = Act.of(subject, "chat", plan, 2)
        self.recorder.record(tenant, act, self._decision(self.now - ago))

    @staticmethod
    def _decision(at: int) -> Decision:
        return decided("api", "", PlanSource.NONE, (), decided_at=at, policy_version=1)

    async def batches(self, since: int = 0) -> list[Batch]:
        """Return what was recorded."""
        return [batch async for batch in self.traffic.batches(since or self.now - KEPT)]

    async def preview(self, text: str, *, window: int = MAX_WINDOW) -> Previewed:
        """Ask what a policy would change."""
        return await self.previewing.preview(ACME, text, window=window)


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[Redis]:
    """Connect as the service does."""
    client = Redis(redis_url, timeout=5)
    await client.start()
    yield client
    await client.close()


async def _now(client: Redis) -> int:
    seconds, micros = await client.execute("TIME")
    return int(seconds) * SECOND + int(micros)


@pytest.fixture
async def recording(redis_client: Redis) -> Recording:
    """Record nothing yet."""
    return Recording(redis_client, await _now(redis_client))


class TestRecording:
    async def test_writes_what_was_checked(self, recording: Recording) -> None:
        """With the plan that the call named, or that is known without asking."""
        recording.check()
        recording.check()
        recording.check("bob", plan="basic")
        recording.check("eve", tenant=OTHER)
        await recording.recorder.run_once()
        (batch,) = await recording.batches()

        at = recording.now - recording.now % 100_000
        assert {
            RecordedCheck(at, ACME, "ann", "chat", "pro", 2): 2,
            RecordedCheck(at, ACME, "bob", "chat", "basic", 2): 1,
            RecordedCheck(at, OTHER, "eve", "chat", "", 2): 1,
        } == batch.checks
        assert (RANKS, at) == (batch.bound, batch.begin)

    async def test_writes_nothing_when_nothing_was_checked(self, recording: Recording) -> None:
        """A quiet replica costs nothing."""
        recording.check()
        for _ in range(3):
            await recording.recorder.run_once()

        assert 1 == len(await recording.batches())

    async def test_takes_fewer_subjects_when_there_are_too_many(self, redis_client: Redis) -> None:
        """For this second and the next ones; slowly more when there is room again."""
        recording = Recording(redis_client, await _now(redis_client), batch_size=10)
        bounds = []
        for number in range(100):
            recording.check(f"user:{number}")
        for _ in range(30):
            recording.check("user:1")
            await recording.recorder.run_once()
            bounds.append(recording.recorder._sample.bound)
        batches = await recording.batches()
        first = batches[0]

        # More than are read at once; in the first seconds there was no room for this subject.
        assert (True, True) == (20 < len(batches) < 30, len(first.checks) <= 10)
        assert first.bound == bounds[0] < RANKS // 4
        assert bounds == sorted(bounds)
        assert RANKS == bounds[-1]

    async def test_keeps_fifteen_minutes(
        self, recording: Recording, raw_redis: "redis.asyncio.Redis"
    ) -> None:
        """And nothing for ever."""
        recording.check()
        await recording.recorder.run_once()

        assert 0 < await raw_redis.pttl(KEY) <= KEPT // 1_000

    async def test_while_redis_is_away_drops_and_counts(self, private_redis: RedisServer) -> None:
        """It goes on when Redis is back; whoever asks for a preview meanwhile is told."""
        client = Redis(private_redis.url)
        await client.start()
        recording = Recording(client, await _now(client))
        before = traffic_dropped._value.get()
        await private_redis.kill()
        recording.check()
        recording.check("bob")
        await recording.recorder.run_once()
        with pytest.raises(RateLimitStoreError, match="cannot be read"):
            await recording.preview(text_of("1/min"))
        await client.close()

        assert 2 == traffic_dropped._value.get() - before


class TestPreview:
    async def test_replays_the_checks_of_the_tenant(self, recording: Recording) -> None:
        """Of all replicas; nobody learns of another tenant's subjects."""
        for number in range(4):
            recording.check(ago=number * SECOND)
            recording.check("eve", tenant=OTHER)
        await recording.recorder.run_once()
        for number in range(4):
            recording.check(ago=number * SECOND)
        await recording.recorder.run_once()
        previewed = await recording.preview(text_of("3/min"))

        # Each check costs 2: of eight, two fit into 5/min and one into 3/min.
        assert [RulePreview("api", 8, 6, 7)] == previewed.preview.rules
        assert [SubjectPreview("ann", "api", 6, 7)] == previewed.preview.subjects
        assert (8, 1.0) == (previewed.preview.replayed, previewed.sampled)
        assert previewed.since is not None
        assert 0 <= recording.now - 3 * SECOND - previewed.since < 100_000

    async def test_looks_back_as_far_as_it_is_told(self, recording: Recording) -> None:
        """What is older is left out."""
        recording.check(ago=5 * MINUTE)
        recording.check(ago=SECOND)
        await recording.recorder.run_once()
        previewed = await recording.preview(text_of("9/min"), window=2 * MINUTE)

        assert [RulePreview("api", 1, 0, 0)] == previewed.preview.rules
        assert recording.now - 2 * MINUTE == previewed.since

    async def test_replays_only_who_was_recorded_all_the_time(self, redis_client: Redis) -> None:
        """A subject of which some checks are missing would look better than it is."""
        recording = Recording(redis_client, await _now(redis_client), batch_size=40)
        for _ in range(3):
            for number in range(40):
                recording.check(f"user:{number}")
            await recording.recorder.run_once()
        for number in range(400):
            recording.check(f"user:{number}")
        await recording.recorder.run_once()
        previewed = await recording.preview(text_of("2/min"))

        (rule,) = previewed.preview.rules
        assert 0 < previewed.sampled < 0.3
        assert 0 < rule.checks < 100
        # Four checks of 2 each: 5/min denies two of them, 2/min three, whoever it is.
        changes = {(it.denied_before, it.denied_after) for it in previewed.preview.subjects}
        assert {(2, 3)} == changes

    async def test_of_a_policy_with_mistakes_is_refused(self, recording: Recording) -> None:
        """As putting it would be."""
        with pytest.raises(ValidationError) as caught:
            await recording.preview(text_of("20"))

        assert "POLICY_REFUSED" == caught.value.reason

    @pytest.mark.parametrize("window", [0, -SECOND, SECOND // 2, MAX_WINDOW + SECOND])
    async def test_of_a_window_that_was_not_recorded_is_refused(
        self, recording: Recording, window: int
    ) -> None:
        """More than fifteen minutes, or less than a second."""
        with pytest.raises(ValidationError) as caught:
            await recording.preview(text_of("20/min"), window=window)

        assert ["window"] == list(caught.value.fields)

    async def test_of_nothing_says_so(self, recording: Recording) -> None:
        """Nothing was recorded."""
        previewed = await recording.preview(text_of("20/min"))

        assert (0, [], None) == (
            previewed.preview.replayed,
            previewed.preview.rules,
            previewed.since,
        )

    async def test_leaves_turns_to_others(self, recording: Recording) -> None:
        """A check waits for a slice of it, not for all of it."""
        for number in range(300):
            for _ in range(10):
                recording.check(f"user:{number}")
        await recording.recorder.run_once()
        turns = 0
        previewing = asyncio.create_task(recording.preview(text_of("1/min")))
        while not previewing.done():
            await asyncio.sleep(0)
            turns += 1

        assert 3_000 == (await previewing).preview.replayed
        assert turns > 100

    async def test_leaves_out_what_it_cannot_read(
        self, recording: Recording, raw_redis: "redis.asyncio.Redis"
    ) -> None:
        """Another version wrote it, during a rolling update."""
        await raw_redis.xadd(KEY, {"batch": b"of tomorrow"})
        recording.check()
        await recording.recorder.run_once()
        previewed = await recording.preview(text_of("20/min"))

        assert 1 == previewed.preview.replayed


@pytest.fixture
async def raw_redis(redis_url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """Look into Redis."""
    async with redis.asyncio.Redis.from_url(redis_url) as connection:
        yield connection
