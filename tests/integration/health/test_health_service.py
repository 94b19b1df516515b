"""The whole service: real targets behind it, gRPC and HTTP in front of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from cli.ports import free_ports
from mainstay.channel import Channel
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from mainstay.health import HealthClient, State
from services.health.app import HealthApp, assemble
from services.health.ports import ProbeError
from services.health.probe_grpc import GrpcProbe
from services.health.settings import HealthSettings
from tests.integration.health.plain_http import ask
from tests.integration.health.running import make_settings
from tests.integration.health.targets import GrpcTarget, SilentListener

NAMES = ["cache", "database", "jobs", "queue", "ratelimit", "redis"]


@pytest.fixture
async def targets() -> AsyncIterator[dict[str, GrpcTarget]]:
    """Start the three services that are probed, as far as a probe can tell."""
    async with AsyncExitStack() as running:
        yield {
            name: await running.enter_async_context(GrpcTarget())
            for name in ("cache", "jobs", "ratelimit")
        }


@pytest.fixture
def settings(targets: dict[str, GrpcTarget], redis_url: str, postgres_url: str) -> HealthSettings:
    """Probes at start and then when the test says so: the next round is minutes away."""
    return make_settings(targets, redis_url=redis_url, postgres_url=postgres_url)


@pytest.fixture
async def health(settings: HealthSettings) -> AsyncIterator[HealthApp]:
    """Start a health service and wait for its first round."""
    app = assemble(settings)
    async with app.service.running():
        yield app


class TestGetReport:
    async def test_all_is_well(self, health: HealthApp, targets: dict[str, GrpcTarget]) -> None:
        """Every target is there by name, measured, with the request id that it was sent."""
        async with Channel(health.service.address) as channel:
            report = await HealthClient(channel).get_report()

        assert (report.state, [check.name for check in report.checks]) == (State.HEALTHY, NAMES)
        for check in report.checks:
            assert check.latency is not None
            assert 0 < check.latency < 5
            assert check.check_time is not None
            assert check.check_time <= report.snapshot_time
            assert (check.state, check.message) == (State.HEALTHY, "")
            if check.name in targets:
                assert [check.request_id] == targets[check.name].request_ids

    async def test_a_critical_target_is_broken(
        self, health: HealthApp, targets: dict[str, GrpcTarget]
    ) -> None:
        """The report says which and why, and is an answer, not an error."""
        targets["jobs"].status = health_pb2.HealthCheckResponse.NOT_SERVING
        await health.prober.run_once()
        async with Channel(health.service.address) as channel:
            report = await HealthClient(channel).get_report()
        jobs = next(check for check in report.checks if check.name == "jobs")

        assert (report.state, jobs.state, jobs.critical) == (State.UNHEALTHY, State.UNHEALTHY, True)
        assert jobs.message == "Answered NOT_SERVING: it is starting, draining or broken."
        assert jobs.request_id == targets["jobs"].request_ids[-1]


class TestHttp:
    async def test_healthy(self, health: HealthApp) -> None:
        """The document of H1 under 200, never to be cached."""
        answer = await ask(health.http.port, "/health")
        document = answer.document()

        assert (
            answer.status,
            answer.headers["cache-control"],
            answer.headers["content-type"],
        ) == (200, "no-store", "application/health+json")
        assert (document["status"], [*document["checks"]]) == ("healthy", NAMES)
        assert document["timestamp"].endswith("Z")
        assert document["checks"]["database"]["status"] == "healthy"
        assert document["checks"]["database"]["latency"] > 0

    async def test_degraded_still_invites_traffic(
        self, targets: dict[str, GrpcTarget], postgres_url: str
    ) -> None:
        """Redis is nobody's own: without it every replica would go out at once."""
        settings = make_settings(
            targets, redis_url="redis://127.0.0.1:1/0", postgres_url=postgres_url
        )
        app = assemble(settings)
        async with app.service.running():
            answer = await ask(app.http.port, "/health")

        assert (
            answer.status,
            answer.document()["status"],
            answer.document()["checks"]["redis"]["status"],
        ) == (200, "degraded", "unhealthy")

    async def test_unhealthy_says_when_to_come_back(
        self, health: HealthApp, targets: dict[str, GrpcTarget]
    ) -> None:
        """503, after the interval something may have changed."""
        await targets["cache"].stop()
        await health.prober.run_once()
        answer = await ask(health.http.port, "/health")

        assert (
            answer.status,
            answer.headers["retry-after"],
            answer.headers["cache-control"],
            answer.document()["status"],
        ) == (503, "300", "no-store", "unhealthy")


class TestWhatIsWiredTogether:
    async def test_names_for_pollers_of_every_kind(
        self, targets: dict[str, GrpcTarget], redis_url: str, postgres_url: str
    ) -> None:
        """HTTP, gRPC and the agent tell the same of a target, a group and the suite."""
        (agent_port,) = free_ports(1)
        settings = make_settings(
            targets,
            redis_url=redis_url,
            postgres_url=postgres_url,
            health_groups="edge=cache+ratelimit,background=jobs+database",
            health_agent_port=agent_port,
        )
        targets["cache"].status = health_pb2.HealthCheckResponse.NOT_SERVING
        app = assemble(settings)
        found = {}
        async with app.service.running(), Channel(app.service.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel.raw)
            for name in ("cache", "jobs", "edge", "background", "suite"):
                checked = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                found[name] = (
                    (await ask(app.http.port, f"/readyz/{name}")).status,
                    health_pb2.HealthCheckResponse.ServingStatus.Name(checked.status),
                    (await advised(agent_port, name)).partition("#")[0],
                )

        up = (200, "SERVING", "ready up 100%\n")
        down = (503, "NOT_SERVING", "ready down ")
        assert found == {
            "cache": down,
            "jobs": up,
            "edge": down,
            "background": up,
            "suite": down,
        }

    async def test_the_root_is_for_people_and_for_haproxy(self, health: HealthApp) -> None:
        """A page for those who get it; a status for those who ask what there is."""
        page = await ask(health.http.port, "/")
        asked = await ask(health.http.port, "/", method="OPTIONS", version="1.0", host=None)

        assert (200, 200) == (page.status, asked.status)
        assert page.headers["content-type"].startswith("text/html")
        assert asked.headers["content-type"] == "application/health+json"


async def advised(port: int, name: str) -> str:
    """Return what HAProxy is told."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{name}\n".encode())
        answer = await reader.read()
        writer.close()
    return answer.decode()


class TestReadiness:
    async def test_ready_whatever_the_targets_do(
        self, health: HealthApp, targets: dict[str, GrpcTarget]
    ) -> None:
        """This instance can say that all is lost, and that makes it ready."""
        for target in targets.values():
            await target.stop()
        await health.prober.run_once()
        answers = [await ask(health.http.port, path) for path in ("/livez", "/readyz", "/health")]

        assert [answer.status for answer in answers] == [200, 200, 503]

    async def test_before_the_first_round_alive_but_not_ready(
        self, targets: dict[str, GrpcTarget], redis_url: str, postgres_url: str
    ) -> None:
        """A target that hangs at start delays readiness by one timeout, and liveness not at all."""
        async with SilentListener() as hung:
            settings = make_settings(
                targets,
                redis_url=redis_url,
                postgres_url=postgres_url,
                health_cache_address=hung.address,
            )
            app = assemble(settings)
            starting = asyncio.create_task(app.service.running().__aenter__())
            await asyncio.wait_for(hung.connected.wait(), 10)
            paths = ("/livez", "/readyz", "/health")
            answers = [await ask(app.http.port, path) for path in paths]
            still_probing = not starting.done()
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

        assert still_probing
        assert [answer.status for answer in answers] == [200, 503, 503]
        assert answers[1].document()["message"] == "The first round of probes is under way."
        assert answers[2].document()["status"] == "unknown"

    async def test_draining_is_not_ready(self, settings: HealthSettings) -> None:
        """Whoever sends traffic here is told before calls are refused."""
        app = assemble(settings)
        answers = []

        async def while_draining() -> None:
            answers.extend([await ask(app.http.port, path) for path in ("/livez", "/readyz")])

        app.service.on_drain(while_draining)
        async with app.service.running():
            pass

        assert [answer.status for answer in answers] == [200, 503]
        assert answers[1].document()["message"] == "This instance is draining."


class TestAnswersDoNoIo:
    async def test_asking_probes_nothing(
        self, health: HealthApp, targets: dict[str, GrpcTarget]
    ) -> None:
        """However many ask, the targets are asked by the background alone."""
        async with Channel(health.service.address) as channel:
            client = HealthClient(channel)
            await asyncio.gather(*(client.get_report() for _ in range(50)))
        await asyncio.gather(*(ask(health.http.port, "/health") for _ in range(50)))

        assert {1} == {len(target.request_ids) for target in targets.values()}

    async def test_answers_come_while_a_probe_hangs(
        self, health: HealthApp, targets: dict[str, GrpcTarget]
    ) -> None:
        """A dependency that hangs makes no answer slow: its probe is out before and after them."""
        targets["jobs"].may_answer.clear()
        targets["jobs"].asked.clear()
        probing = asyncio.create_task(health.prober.run_once())
        await asyncio.wait_for(targets["jobs"].asked.wait(), 5)
        async with Channel(health.service.address) as channel:
            report = await HealthClient(channel).get_report()
        answer = await ask(health.http.port, "/health")
        still_out = not probing.done()
        targets["jobs"].may_answer.set()
        await probing

        assert (report.state, answer.status, still_out) == (State.HEALTHY, 200, True)


class TestProbingAService:
    async def test_serving_then_draining(self, settings: HealthSettings) -> None:
        """A service of ours, here this one, passes the probe until it drains."""
        app = assemble(settings)
        complaints: list[str] = []

        async def while_draining() -> None:
            with pytest.raises(ProbeError) as caught:
                await probe.ask("request-2")
            complaints.append(caught.value.message)

        app.service.on_drain(while_draining)
        async with app.service.running():
            probe = GrpcProbe(app.service.address, timeout=1)
            await probe.ask("request-1")
        await probe.close()

        assert complaints == ["Answered NOT_SERVING: it is starting, draining or broken."]


class TestOldSnapshot:
    async def test_an_old_answer_is_not_a_healthy_answer(self, health: HealthApp) -> None:
        """Were the probes to stop, every answer would turn to unknown by itself."""
        long_ago = time.monotonic() - 3600
        for standing in health.prober.snapshot.standings.values():
            old = replace(standing.last, at=long_ago)
            health.prober.snapshot = health.prober.snapshot.after(old)
        # Time went back here, so that the report of a moment ago would still be as of now.
        health.prober.snapshot = replace(health.prober.snapshot, revision=-1)
        async with Channel(health.service.address) as channel:
            report = await HealthClient(channel).get_report()
        answer = await ask(health.http.port, "/health")

        assert {State.UNKNOWN} == {report.state, *(check.state for check in report.checks)}
        assert (answer.status, answer.document()["status"]) == (503, "unknown")


class TestFirstRound:
    async def test_is_no_incident(self, health: HealthApp) -> None:
        """Results come in one by one; that some are not in yet is no news of the whole."""
        await asyncio.wait_for(health.past.database.wait_connected(), 10)
        await health.past.recorder.write_once(everything=True)

        assert [] == await health.past.history.newest_incidents(["suite"], 10)


class TestDeadAtStart:
    async def test_it_comes_up_and_reports(self) -> None:
        """With nothing there at all, saying so is the job."""
        nowhere = "127.0.0.1:1"
        settings = HealthSettings(
            redis_url=f"redis://{nowhere}/0",
            postgres_url=f"postgresql://mainstay:secret@{nowhere}/mainstay",
            health_cache_address=nowhere,
            health_jobs_address=nowhere,
            health_ratelimit_address=nowhere,
            health_port=0,
            health_ops_port=0,
            health_http_port=0,
            health_disk_paths="",
            health_details_token="sixteen-and-more-characters",
        )
        app = assemble(settings)
        async with app.service.running():
            answer = await ask(app.http.port, "/health")
            ready = await ask(app.http.port, "/readyz")

        assert (answer.status, ready.status) == (503, 200)
        assert {"unhealthy"} == {check["status"] for check in answer.document()["checks"].values()}
        assert b"secret" not in answer.body
        assert nowhere.encode() not in answer.body
