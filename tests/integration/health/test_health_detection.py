"""What the report says while real dependencies die, hang and come back."""

from collections.abc import Mapping
from datetime import UTC, datetime

from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from services.health.ports import Probe
from services.health.prober import Prober
from services.health.probes import GrpcProbe, PostgresProbe, RedisProbe
from services.health.rollup import Target
from services.health.snapshot import Snapshot
from services.health.state import Damping, State
from tests.integration.health.targets import GrpcTarget

DAMPING = Damping(rise=2, fall=3, stale_after=3600)
CRITICAL = {"cache", "jobs"}


def make_prober(probes: Mapping[str, Probe], *, timeout: float = 5.0) -> Prober:
    targets = tuple(Target(name=name, critical=name in CRITICAL) for name in probes)
    snapshot = Snapshot.empty(targets, damping=DAMPING, time=datetime.now(UTC))
    return Prober(probes, snapshot, interval=3600, timeout=timeout, monotonic=lambda: 0.0)


def state_of(prober: Prober, target: str) -> State:
    return prober.snapshot.check(target, 0.0).state


async def states_over(prober: Prober, target: str, rounds: int) -> list[State]:
    states = []
    for _ in range(rounds):
        await prober.run_once()
        states.append(state_of(prober, target))
    return states


class TestDeath:
    async def test_redis_dies_and_comes_back(self, private_redis: RedisServer) -> None:
        """The third failure in a row counts, and so does the second success after it."""
        prober = make_prober({"redis": RedisProbe(private_redis.url)})
        alive = await states_over(prober, "redis", 1)
        await private_redis.kill()
        dying = await states_over(prober, "redis", 3)
        await private_redis.start()
        rising = await states_over(prober, "redis", 2)
        await prober.close()

        healthy, unhealthy = State.HEALTHY, State.UNHEALTHY
        assert alive == [healthy]
        assert dying == [healthy, healthy, unhealthy]
        assert rising == [unhealthy, healthy]

    async def test_redis_hangs(self, private_redis: RedisServer) -> None:
        """A frozen process keeps its connections open; its silence is what gives it away."""
        prober = make_prober({"redis": RedisProbe(private_redis.url)}, timeout=0.1)
        await prober.run_once()
        private_redis.pause()
        hanging = await states_over(prober, "redis", 3)
        private_redis.resume()
        await prober.close()

        assert hanging == [State.HEALTHY, State.HEALTHY, State.UNHEALTHY]

    async def test_postgres_stops_and_comes_back(self, private_postgres: PostgresServer) -> None:
        """The database is optional by default: without it the suite is degraded."""
        async with GrpcTarget() as cache:
            probes = {
                "cache": GrpcProbe(cache.address, timeout=1),
                "database": PostgresProbe(private_postgres.url),
            }
            prober = make_prober(probes)
            await prober.run_once()
            await private_postgres.stop()  # killed, its children would answer on for a moment
            dying = await states_over(prober, "database", 3)
            whole = prober.snapshot.report(0.0).state
            await private_postgres.start()
            rising = await states_over(prober, "database", 2)
            await prober.close()

        assert dying == [State.HEALTHY, State.HEALTHY, State.UNHEALTHY]
        assert whole is State.DEGRADED
        assert rising == [State.UNHEALTHY, State.HEALTHY]

    async def test_a_service_dies_and_comes_back(self) -> None:
        """A critical target makes the whole unhealthy, and healthy again."""
        async with GrpcTarget() as jobs:
            prober = make_prober({"jobs": GrpcProbe(jobs.address, timeout=1)})
            await prober.run_once()
            await jobs.stop()
            await states_over(prober, "jobs", 3)
            dead = prober.snapshot.report(0.0).state
            await jobs.start()
            await states_over(prober, "jobs", 2)
            back = prober.snapshot.report(0.0).state
            await prober.close()

        assert [dead, back] == [State.UNHEALTHY, State.HEALTHY]
