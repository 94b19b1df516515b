"""One trace from the caller of an event to the step that undoes what its job has done."""

from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from mainstay.channel import Channel
from mainstay.jobs import JobClient, JobContext, JobState, NonRetryableError, Worker
from shared.telemetry.tracing import span
from tests.integration.sdk_jobs.jobs_service import serving
from tests.integration.sdk_jobs.running_worker import running
from tests.recorded_spans import attributes_of, context_of, recording_spans

PATIENCE = 30.0
# That the service is told of one makes it trace; the spans stay in the test.
SOMEWHERE = "http://127.0.0.1:9"


class Trip:
    """A job that books, cannot go on, and has to undo the booking."""

    def __init__(self, address: str) -> None:
        self.worker = Worker(address, name="agency", tenant="*", concurrency=1)
        self.worker.function("book-trip", on="test/work")(self.run)

    async def run(self, job: JobContext) -> None:
        await job.step.run("book-hotel", self.book, compensate=self.cancel)
        raise NonRetryableError("no flights")

    async def book(self) -> str:
        return "room 7"

    async def cancel(self, room: str) -> None:
        del room


class Walk:
    """Goes from span to span, upwards."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._spans = [*exporter.get_finished_spans()]
        self._by_id = {context_of(one).span_id: one for one in self._spans}

    def only(self, name: str) -> ReadableSpan:
        """Return the one span of a name."""
        (found,) = [one for one in self._spans if one.name == name]
        return found

    def up(self, one: ReadableSpan) -> ReadableSpan:
        """Return what a span is linked to, or else its parent."""
        origin = one.links[0].context if one.links else one.parent
        assert origin is not None, f"{one.name} is the end of the walk"
        return self._by_id[origin.span_id]

    def children(self, one: ReadableSpan) -> list[ReadableSpan]:
        """Return the spans right below a span."""
        mine = context_of(one).span_id
        return [child for child in self._spans if child.parent and child.parent.span_id == mine]


class TestOneTrace:
    async def test_leads_from_the_caller_to_the_compensating_step(
        self, postgres_url: str, jobs_policies: Path
    ) -> None:
        """Caller, call, what PostgreSQL stored, job, step, and the undoing of the step."""
        with recording_spans() as exporter:
            async with serving(postgres_url, jobs_policies, otlp_endpoint=SOMEWHERE) as address:
                trip = Trip(address)
                async with running(trip.worker), Channel(address, tenant="acme") as channel:
                    await trip.worker.ready()
                    jobs = JobClient(channel)
                    with span("checkout"):
                        (job_id,) = (await jobs.send_event("test/work", {})).job_ids
                    state = (await jobs.wait_for_job(job_id, timeout=PATIENCE)).state
        walk = Walk(exporter)
        undoing = walk.only("undo book-hotel")
        chain = [undoing]
        while chain[-1].name != "checkout":
            chain.append(walk.up(chain[-1]))

        method = "mainstay.jobs.v1.JobService/SendEvents"
        assert JobState.DEAD_LETTERED is state
        assert [
            ("undo book-hotel", SpanKind.INTERNAL),
            ("book-trip", SpanKind.CONSUMER),
            (method, SpanKind.SERVER),
            (method, SpanKind.CLIENT),
            ("checkout", SpanKind.INTERNAL),
        ] == [(one.name, one.kind) for one in chain]
        assert 1 == len({context_of(one).trace_id for one in chain})

        served = chain[2]
        asked = [one for one in walk.children(served) if one.kind is SpanKind.CLIENT]
        assert "insert_jobs" in {one.name for one in asked}
        assert {"postgresql"} == {attributes_of(one)["db.system.name"] for one in asked}

        step = walk.only("book-hotel")
        first_run = walk.up(step)
        assert ("book-trip", method) == (first_run.name, walk.up(first_run).name)
        assert first_run is not chain[1], "the undoing is a turn of its own"
