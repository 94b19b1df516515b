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
from services.health.rollup import Target
from services.health.snapshot import Snapshot
from services.health.state import Damping, State

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Answer = Callable[[], None]


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

    async def ask(self, request_id: str) -> None:
        self.request_ids.append(request_id)
        self.answer()

    async def close(self) -> None:
        self.closed = True


class SilentProbe(ScriptedProbe):
    """A target that never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def ask(self, request_id: str) -> None:
        self.asked.set()
        await asyncio.Event().wait()


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
    targets = tuple(Target(name=name, critical=True) for name in probes)
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


class TestRound:
    async def test_every_target_is_asked_under_an_id_of_its_own(self) -> None:
        """A request id stands for one probe, in the report and in the log of its target."""
        cache, jobs = ScriptedProbe(), ScriptedProbe()
        prober = make_prober({"cache": cache, "jobs": jobs})
        await prober.run_once()

        checks = prober.snapshot.report(now=100).checks
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
        last = prober.snapshot.check("cache", clock.now).last

        assert last is not None
        assert (last.latency, last.at) == (0.25, 100.25)

    async def test_a_failure_is_a_result(self) -> None:
        """The round goes on, and the sentence of the probe is what is reported."""
        prober = make_prober({"cache": ScriptedProbe(badly), "jobs": ScriptedProbe()})
        await prober.run_once()
        report = prober.snapshot.report(now=100)

        assert [(check.state, check.message) for check in report.checks] == [
            (State.UNHEALTHY, "Refused the connection."),
            (State.HEALTHY, ""),
        ]

    async def test_a_silent_target_costs_its_timeout(self) -> None:
        """Not more: a probe that does not end is cancelled and has failed."""
        prober = make_prober({"cache": SilentProbe()}, timeout=0.01)
        await prober.run_once()
        check = prober.snapshot.check("cache", 100)

        assert (check.state, check.message) == (State.UNHEALTHY, "Did not answer within 0.01 s.")

    async def test_a_silent_target_holds_back_no_other(self) -> None:
        """What is known of one target is published while another is still being waited for."""
        silent = SilentProbe()
        prober = make_prober({"cache": ScriptedProbe(), "jobs": silent})
        one_round = asyncio.create_task(prober.run_once())
        await asyncio.wait_for(silent.asked.wait(), 5)
        states = [check.state for check in prober.snapshot.report(now=100).checks]
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
        report = prober.snapshot.report(now=100)

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

    async def test_start_makes_the_first_round(self) -> None:
        """When the service takes its first call, every target has been asked once."""
        prober = make_prober({"cache": ScriptedProbe(badly)})
        with capture_logs():
            await prober.start()

        assert prober.snapshot.complete

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
    async def test_probes_are_counted_and_states_shown(self) -> None:
        """One gauge of a target is 1, so that an alert can name the state it waits for."""
        prober = make_prober({"metrics-target": ScriptedProbe(badly)})
        with capture_logs():
            await prober.run_once()
            await prober.run_once()

        def sample(name: str, **labels: str) -> float | None:
            return REGISTRY.get_sample_value(name, {"target": "metrics-target", **labels})

        states = [sample("mainstay_health_check_state", state=state.value) for state in State]
        assert states == [float(state is State.UNHEALTHY) for state in State]
        assert sample("mainstay_health_probes_total", outcome="failed") == 2
        assert sample("mainstay_health_probe_duration_seconds_count") == 2
