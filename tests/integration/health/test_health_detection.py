"""What the report says while real dependencies die, hang and come back."""

from collections.abc import Mapping
from datetime import UTC, datetime

from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from services.health.ports import Probe
from services.health.probe_grpc import GrpcProbe
from services.health.probe_postgres import PostgresProbe
from services.health.probe_redis import RedisProbe
from services.health.prober import Prober
from services.health.snapshot import Snapshot
from services.health.state import Damping, State
from services.health.target import Kind, Target, replica
from tests.integration.health.targets import GrpcTarget

DAMPING = Damping(rise=2, fall=3, stale_after=3600)
TARGETS = (
    Target(name="cache", kind=Kind.SERVICE, critical=True, needs=("redis",)),
    Target(name="jobs", kind=Kind.SERVICE, critical=True, needs=("database",)),
    Target(name="database", kind=Kind.POSTGRES),
    Target(name="redis", kind=Kind.REDIS),
)


async def make_prober(
    probes: Mapping[str, Probe], *, patience: float = 5.0, **replicas: GrpcTarget
) -> Prober:
    """Return a prober of what has a probe, and of services that have one replica each."""
    targets = [target for target in TARGETS if target.name in {*probes, *replicas}]
    snapshot = Snapshot.empty(targets, damping=DAMPING, time=datetime.now(UTC))
    prober = Prober(probes, snapshot, interval=3600, timeout=patience, monotonic=lambda: 0.0)
    for service, target in replicas.items():
        probe = GrpcProbe(target.address, timeout=1)
        await prober.replace_replicas(service, {replica(service, target.address): probe})
    return prober


def redis_probe(server: RedisServer) -> Mapping[str, Probe]:
    """Return the probe of a Redis under its name."""
    return {"redis": RedisProbe(server.url, instance="test")}


def state_of(prober: Prober, target: str) -> State:
    """Return the state of a target as of now."""
    check = prober.report().check(target)
    assert check is not None
    return check.state


async def states_over(prober: Prober, target: str, rounds: int) -> list[State]:
    """Probe so many times and return the state after each."""
    states = []
    for _ in range(rounds):
        await prober.run_once()
        states.append(state_of(prober, target))
    return states


class TestDeath:
    async def test_redis_dies_and_comes_back(self, private_redis: RedisServer) -> None:
        """The third failure in a row counts, and so does the second success after it."""
        prober = await make_prober(redis_probe(private_redis))
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
        prober = await make_prober(redis_probe(private_redis), patience=0.5)
        await prober.run_once()
        private_redis.pause()
        hanging = await states_over(prober, "redis", 3)
        private_redis.resume()
        await prober.close()

        assert hanging == [State.HEALTHY, State.HEALTHY, State.UNHEALTHY]

    async def test_postgres_stops_and_comes_back(self, private_postgres: PostgresServer) -> None:
        """The database is optional by default: without it the suite is degraded."""
        async with GrpcTarget() as cache:
            probes = {"database": PostgresProbe(private_postgres.url)}
            prober = await make_prober(probes, cache=cache)
            await prober.run_once()
            await private_postgres.stop()  # killed, its children would answer on for a moment
            dying = await states_over(prober, "database", 3)
            whole = prober.report().state
            await private_postgres.start()
            rising = await states_over(prober, "database", 2)
            await prober.close()

        assert dying == [State.HEALTHY, State.HEALTHY, State.UNHEALTHY]
        assert whole is State.DEGRADED
        assert rising == [State.UNHEALTHY, State.HEALTHY]

    async def test_a_service_dies_and_comes_back(self) -> None:
        """A critical target makes the whole unhealthy, and healthy again."""
        async with GrpcTarget() as jobs:
            prober = await make_prober({}, jobs=jobs)
            await prober.run_once()
            await jobs.stop()
            await states_over(prober, "jobs", 3)
            dead = prober.report().state
            await jobs.start()
            await states_over(prober, "jobs", 2)
            back = prober.report().state
            await prober.close()

        assert [dead, back] == [State.UNHEALTHY, State.HEALTHY]


class TestBlame:
    async def test_a_service_is_degraded_because_of_what_it_needs(
        self, private_redis: RedisServer
    ) -> None:
        """It answers; the id of the probe that failed leads to the reason."""
        async with GrpcTarget() as cache:
            prober = await make_prober(redis_probe(private_redis), cache=cache)
            await prober.run_once()
            await private_redis.stop()
            await states_over(prober, "redis", 3)
            report = prober.report()
            await prober.close()
        service, redis = report.check("cache"), report.check("redis")

        assert service is not None
        assert redis is not None
        assert (State.HEALTHY, State.DEGRADED) == (service.own, service.state)
        assert ("redis",) == service.because
        assert "redis: Refused or closed the connection." == service.message
        assert redis.found_by == service.found_by != ""
