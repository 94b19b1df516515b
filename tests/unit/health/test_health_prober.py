"""One round of probes: what is asked, what is learned, what is logged."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.health.ports import Probe, ProbeError
from services.health.prober import Prober
from services.health.rollup import Check
from services.health.snapshot import Snapshot
from services.health.state import Damping, Observation, State
from services.health.target import Kind, Target, replica

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Answer = Callable[[], str | None]


def well() -> None:
    """Answer well."""


def badly() -> None:
    """Fail as a probe does."""
    raise ProbeError("Refused the connection.", cause="127.0.0.1:6379 refused")


class ScriptedProbe:
    """A target that answers as its test says."""

    def __init__(self, answer: Answer = well) -> None:
        self.answer = answer
        self.request_ids: list[str] = []
        self.closed = False

    async def ask(self, request_id: str) -> str:
        self.request_ids.append(request_id)
        return self.answer() or ""

    async def close(self) -> None:
        self.closed = True


class SilentProbe(ScriptedProbe):
    """A target that never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def ask(self, request_id: str) -> str:
        self.asked.set()
        await asyncio.Event().wait()
        return ""


class Clock:
    """Time that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_prober(
    probes: Mapping[str, Probe],
    *,
    clock: Clock | None = None,
    fall: int = 1,
    interval: float = 2.0,
    timeout: float = 5.0,
) -> Prober:
    numbers = count(1)
    targets = tuple(Target(name=name, kind=Kind.REDIS, critical=True) for name in probes)
    damping = Damping(rise=1, fall=fall, stale_after=6.0)
    return Prober(
        probes,
        Snapshot.empty(targets, damping=damping, time=BEGIN),
        interval=interval,
        timeout=timeout,
        monotonic=clock or Clock(),
        wall=lambda: BEGIN,
        request_ids=lambda: f"probe-{next(numbers)}",
        uniform=lambda low, high: (low + high) / 2,
    )


def _check(prober: Prober) -> Check:
    check = prober.report().check("cache")
    assert check is not None
    return check


class TestRound:
    async def test_every_target_is_asked_under_an_id_of_its_own(self) -> None:
        """A request id stands for one probe, in the report and in the log of its target."""
        cache, jobs = ScriptedProbe(), ScriptedProbe()
        prober = make_prober({"cache": cache, "jobs": jobs})
        await prober.run_once()

        checks = prober.report().checks
        expected = [*cache.request_ids, *jobs.request_ids]
        assert expected == ["probe-1", "probe-2"]
        assert expected == [check.last.request_id for check in checks if check.last]

    async def test_latency_is_that_of_the_probe(self) -> None:
        """It is measured on the clock that the prober was given."""
        clock = Clock()

        def slowly() -> None:
            clock.now += 0.25

        prober = make_prober({"cache": ScriptedProbe(slowly)}, clock=clock)
        await prober.run_once()
        last = _check(prober).last

        assert last is not None
        assert (last.latency, last.at) == (0.25, 100.25)

    async def test_a_failure_is_a_result(self) -> None:
        """The round goes on, and the sentence of the probe is what is reported."""
        prober = make_prober({"cache": ScriptedProbe(badly), "jobs": ScriptedProbe()})
        await prober.run_once()
        report = prober.report()

        assert [(check.state, check.message) for check in report.checks] == [
            (State.UNHEALTHY, "Refused the connection."),
            (State.HEALTHY, ""),
        ]

    async def test_a_silent_target_costs_its_timeout(self) -> None:
        """Not more: a probe that does not end is cancelled and has failed."""
        prober = make_prober({"cache": SilentProbe()}, timeout=0.01)
        await prober.run_once()
        check = _check(prober)

        assert (check.state, check.message) == (State.UNHEALTHY, "Did not answer within 0.01 s.")

    async def test_a_silent_target_holds_back_no_other(self) -> None:
        """What is known of one target is published while another is still being waited for."""
        silent = SilentProbe()
        prober = make_prober({"cache": ScriptedProbe(), "jobs": silent})
        one_round = asyncio.create_task(prober.run_once())
        await asyncio.wait_for(silent.asked.wait(), 5)
        states = [check.state for check in prober.report().checks]
        one_round.cancel()
        await asyncio.gather(one_round, return_exceptions=True)

        assert states == [State.HEALTHY, State.UNKNOWN]

    async def test_a_fault_in_a_probe_is_a_failed_probe(self) -> None:
        """A bug in one of them must not blind the service, nor show its text to the world."""

        def faulty() -> None:
            raise KeyError("redis://user:secret@host")

        prober = make_prober({"cache": ScriptedProbe(faulty), "jobs": ScriptedProbe()})
        with capture_logs():
            await prober.run_once()
        report = prober.report()

        assert [check.message for check in report.checks] == [
            "The probe itself failed; see the log.",
            "",
        ]


class TestRun:
    async def test_it_probes_until_cancelled(self) -> None:
        """Rounds follow each other at the interval, without anybody asking."""
        third = asyncio.Event()
        probe = ScriptedProbe(lambda: third.set() if len(probe.request_ids) == 3 else None)
        prober = make_prober({"cache": probe}, interval=0.001)
        running = asyncio.create_task(prober.run())
        await asyncio.wait_for(third.wait(), 5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        assert running.cancelled()

    async def test_a_round_that_hangs_does_not_put_off_the_next(self) -> None:
        """They begin at the interval: what hangs is found as soon as what is dead."""
        clock = Clock()
        third = asyncio.Event()

        def slowly() -> None:
            clock.now += 60.0
            if len(probe.request_ids) == 3:
                third.set()

        probe = ScriptedProbe(slowly)
        prober = make_prober({"cache": probe}, clock=clock, interval=1.0)
        running = asyncio.create_task(prober.run())
        # The first after the interval, the others at once: each took longer than that.
        async with asyncio.timeout(2.8):
            await third.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        assert running.cancelled()

    async def test_start_makes_the_first_round(self) -> None:
        """When the service takes its first call, every target has been asked once."""
        prober = make_prober({"cache": ScriptedProbe(badly)})
        with capture_logs():
            await prober.start()

        assert prober.snapshot.standings.keys() == prober.snapshot.probed.keys()

    async def test_close_closes_every_probe(self) -> None:
        """No connection outlives the service."""
        probes = {"cache": ScriptedProbe(), "jobs": ScriptedProbe()}
        await make_prober(probes).close()

        assert all(probe.closed for probe in probes.values())


class TestLog:
    async def test_a_change_is_one_line_with_the_id_of_the_probe(self) -> None:
        """Whoever is woken finds the reason, the cause and the id to look for."""
        probe = ScriptedProbe()
        prober = make_prober({"cache": probe})
        with capture_logs() as lines:
            await prober.run_once()
            probe.answer = badly
            await prober.run_once()

        assert lines[1] == {
            "event": "check_changed_state",
            "log_level": "warning",
            "target": "cache",
            "state": "unhealthy",
            "before": "healthy",
            "message": "Refused the connection.",
            "cause": "127.0.0.1:6379 refused",
            "latency": 0.0,
            "request_id": "probe-2",
        }

    @pytest.mark.parametrize("answer", [well, badly])
    async def test_more_of_the_same_is_silent(self, answer: Answer) -> None:
        """A line per probe would bury the line that matters."""
        prober = make_prober({"cache": ScriptedProbe(answer)})
        with capture_logs() as lines:
            for _ in range(5):
                await prober.run_once()

        assert [line["event"] for line in lines] == ["check_changed_state"]

    async def test_a_damped_failure_is_silent(self) -> None:
        """Nothing has changed for anybody who asks."""
        probe = ScriptedProbe()
        prober = make_prober({"cache": probe}, fall=2)
        with capture_logs() as lines:
            await prober.run_once()
            probe.answer = badly
            await prober.run_once()

        assert [(line["before"], line["state"]) for line in lines] == [("unknown", "healthy")]

    async def test_return_from_silence_is_a_change(self) -> None:
        """After a pause longer than trust lasts, healthy is news again."""
        clock = Clock()
        prober = make_prober({"cache": ScriptedProbe()}, clock=clock)
        with capture_logs() as lines:
            await prober.run_once()
            clock.now += 60
            await prober.run_once()

        assert [line["before"] for line in lines] == ["unknown", "unknown"]


class TestMetrics:
    async def test_probes_are_counted(self) -> None:
        """By what came of them, and how long they took."""
        prober = make_prober({"metrics-target": ScriptedProbe(badly)})
        with capture_logs():
            await prober.run_once()
            await prober.run_once()

        def sample(name: str, **labels: str) -> float | None:
            return REGISTRY.get_sample_value(name, {"target": "metrics-target", **labels})

        assert sample("mainstay_health_probes_total", outcome="failed") == 2
        assert sample("mainstay_health_probe_duration_seconds_count") == 2

    async def test_of_a_replica_that_is_gone_nothing_is_left(self) -> None:
        """New ones have new addresses: else there would be ever more to scrape."""
        prober = make_prober({})
        prober.snapshot = Snapshot.empty(
            [Target(name="cache", kind=Kind.SERVICE)],
            damping=Damping(rise=1, fall=1, stale_after=6.0),
            time=BEGIN,
        )
        for address in ("gone:1", "here:1"):
            await prober.replace_replicas("cache", {replica("cache", address): ScriptedProbe()})
            with capture_logs():
                await prober.run_once()
        names = [
            {
                sample.labels["target"]
                for family in REGISTRY.collect()
                if family.name == name
                for sample in family.samples
            }
            & {"cache/gone:1", "cache/here:1"}
            for name in ("mainstay_health_probes", "mainstay_health_probe_duration_seconds")
        ]

        assert [{"cache/here:1"}] * 2 == names


class TestReplicas:
    @staticmethod
    async def _with_replicas(*addresses: str) -> tuple[Prober, dict[str, ScriptedProbe]]:
        prober = make_prober({})
        prober.snapshot = Snapshot.empty(
            [Target(name="cache", kind=Kind.SERVICE)],
            damping=Damping(rise=1, fall=1, stale_after=6.0),
            time=BEGIN,
        )
        probes = {address: ScriptedProbe() for address in addresses}
        await prober.replace_replicas(
            "cache", {replica("cache", address): probe for address, probe in probes.items()}
        )
        return prober, probes

    async def test_each_is_probed(self) -> None:
        """All replicas behind a name are asked, not one of them."""
        prober, probes = await self._with_replicas("a:1", "b:1")
        with capture_logs():
            await prober.run_once()

        assert [len(probe.request_ids) for probe in probes.values()] == [1, 1]

    async def test_one_that_stays_keeps_its_probe(self) -> None:
        """Its connection, and what is known of it."""
        prober, probes = await self._with_replicas("a:1", "b:1")
        with capture_logs():
            await prober.run_once()
        new = {replica("cache", "a:1"): ScriptedProbe(), replica("cache", "c:1"): ScriptedProbe()}
        await prober.replace_replicas("cache", new)

        known = {each.target.name: each.state for each in _check(prober).replicas}
        assert known == {"cache/a:1": State.HEALTHY, "cache/c:1": State.UNKNOWN}
        assert (probes["a:1"].closed, probes["b:1"].closed) == (False, True)
        assert [probe.closed for probe in new.values()] == [True, False]

    async def test_an_answer_of_one_that_is_gone_is_dropped(self) -> None:
        """It came too late to be of use."""
        prober, probes = await self._with_replicas("a:1")

        def leave() -> None:
            prober.snapshot = prober.snapshot.with_replicas("cache", [])

        probes["a:1"].answer = leave
        with capture_logs():
            await prober.run_once()

        assert {} == prober.snapshot.standings


class TestListening:
    async def test_every_observation_is_told(self) -> None:
        """History is made of them."""
        prober = make_prober({"cache": ScriptedProbe(badly)})
        heard: list[Observation | None] = []
        prober.listen(heard.append)
        with capture_logs():
            await prober.run_once()

        assert [seen.message for seen in heard if seen] == ["Refused the connection."]
