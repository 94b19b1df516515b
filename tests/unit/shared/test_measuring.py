"""Measuring a piece of work: counted by name, however it ends."""

import asyncio
import threading

import pytest
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry, generate_latest

from shared.telemetry import measured, measuring, timer, tracing
from shared.telemetry.measuring import OTHER, WorkMetrics, WorkTally
from shared.telemetry.recorder import Recorder
from tests.recorded_spans import context_of, recording_spans


@pytest.fixture(autouse=True)
def work(monkeypatch: pytest.MonkeyPatch) -> WorkMetrics:
    """Count within the test."""
    counted = WorkMetrics(max_names=3)
    monkeypatch.setattr(measuring, "work", counted)
    return counted


def tally(work: WorkMetrics, name: str) -> WorkTally:
    return dict(work.tallies())[name]


class TestATimer:
    async def test_measures_what_is_awaited(self, work: WorkMetrics) -> None:
        """The time of the block, not of its beginning."""
        began = asyncio.get_running_loop().time()
        with timer("test.wait"):
            await asyncio.to_thread(threading.Event().wait, 0.02)
        within = asyncio.get_running_loop().time() - began

        assert tally(work, "test.wait").count == 1
        assert 0.02 <= tally(work, "test.wait").seconds <= within

    def test_lets_errors_pass_and_counts_them(self, work: WorkMetrics) -> None:
        """What happens is none of its business."""
        with pytest.raises(KeyError), timer("test.fail"):
            raise KeyError("gone")

        assert (1, 1) == (tally(work, "test.fail").count, tally(work, "test.fail").errors)

    def test_takes_no_cancellation_for_an_error(self, work: WorkMetrics) -> None:
        """A service that stops has not failed."""
        with pytest.raises(asyncio.CancelledError), timer("test.stop"):
            raise asyncio.CancelledError

        assert (1, 0) == (tally(work, "test.stop").count, tally(work, "test.stop").errors)

    def test_nests(self, work: WorkMetrics) -> None:
        """What is inside counts for both."""
        with timer("test.outer"), timer("test.inner"):
            pass

        assert tally(work, "test.outer").seconds >= tally(work, "test.inner").seconds > 0


class TestASpan:
    def test_lies_below_the_current_one(self, work: WorkMetrics) -> None:
        """Under the name of the work."""
        with recording_spans() as exporter, tracing.span("test.call"), timer("test.part"):
            pass
        part, call = exporter.get_finished_spans()

        assert ("test.part", "test.call") == (part.name, call.name)
        assert part.parent is not None
        assert part.parent.span_id == context_of(call).span_id

    def test_says_that_the_work_failed(self, work: WorkMetrics) -> None:
        """An error is one of the trace's too."""
        with recording_spans() as exporter, pytest.raises(KeyError), timer("test.part"):
            raise KeyError("gone")
        (part,) = exporter.get_finished_spans()

        assert part.status.status_code is StatusCode.ERROR

    def test_is_made_where_spans_go_somewhere(
        self, work: WorkMetrics, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nowhere else: work that nobody traces pays for no span."""
        with recording_spans() as exporter:
            monkeypatch.setattr(Recorder, "installed", None)
            with timer("test.part"):
                pass

        assert (1, ()) == (tally(work, "test.part").count, exporter.get_finished_spans())


class TestAMeasuredFunction:
    async def test_is_async(self, work: WorkMetrics) -> None:
        """Its awaiting is measured, its result passes, and it stays a coroutine function."""

        @measured("test.async")
        async def double(number: int) -> int:
            """Say so."""
            await asyncio.sleep(0)
            return 2 * number

        assert await double(21) == 42
        assert asyncio.iscoroutinefunction(double)
        assert (double.__name__, double.__doc__) == ("double", "Say so.")
        assert tally(work, "test.async").count == 1

    def test_is_plain(self, work: WorkMetrics) -> None:
        """Its errors pass too."""

        @measured("test.plain")
        def fail() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            fail()

        assert tally(work, "test.plain").errors == 1

    def test_is_no_generator(self) -> None:
        """What its caller does between two items would count too."""

        async def items() -> object:
            yield 1

        with pytest.raises(TypeError, match=r"test\.items is a generator"):
            measured("test.items")(items)


class TestMetrics:
    def test_are_a_histogram_and_errors_by_operation(self, work: WorkMetrics) -> None:
        """In seconds."""
        work.count("test.sweep", 0.004, failed=False)
        work.count("test.sweep", 0.3, failed=True)
        registry = CollectorRegistry()
        registry.register(work)
        scrape = generate_latest(registry).decode()

        for line in (
            'mainstay_measured_duration_seconds_bucket{le="0.005",operation="test.sweep"} 1.0',
            'mainstay_measured_duration_seconds_bucket{le="+Inf",operation="test.sweep"} 2.0',
            'mainstay_measured_duration_seconds_sum{operation="test.sweep"} 0.304',
            'mainstay_measured_errors_total{operation="test.sweep"} 1.0',
        ):
            assert line in scrape

    def test_have_a_bounded_number_of_names(self, work: WorkMetrics) -> None:
        """Beyond it the work still counts, as other."""
        for number in range(10):
            work.count(f"test.{number}", 0.001, failed=False)

        assert {"test.0": 1, "test.1": 1, "test.2": 1, OTHER: 7} == {
            name: tally.count for name, tally in work.tallies()
        }
