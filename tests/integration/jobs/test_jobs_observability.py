"""What can be seen of a job from outside: log lines, metrics, under its own request."""

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from mainstay.jobs.v1 import worker_service_pb2 as pb
from services.jobs.gauges import QueueGauges
from services.jobs.postgres_queues import PostgresQueues
from shared.postgres.pool import Postgres
from shared.service import Service
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import Workers, function, seconds

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def value(name: str, **labels: str) -> float:
    """Return a metric as it is now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


class TestLogs:
    async def test_one_request(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Claims and ends of a job are found under the request that sent its event."""
        worker = await workers.connect(service.address)
        with capture_logs() as lines:
            job_id = await jobs.start_job(request_id="req-42", metadata=(("traceparent", TRACE),))
            await worker.complete((await worker.take_one()).token)

        facts = [
            (line["event"], line["job_id"], line["tenant"], line["trace_id"])
            for line in lines
            if line.get("request_id") == "req-42"
        ]
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        assert [
            ("job_claimed", job_id, "acme", trace_id),
            ("job_attempt_ended", job_id, "acme", trace_id),
        ] == facts

    async def test_nothing_secret(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Neither payloads nor results nor the session's secret are logged."""
        with capture_logs() as lines:
            worker = await workers.connect(service.address)
            await jobs.start_job()
            await worker.complete((await worker.take_one()).token, '"hidden-result"')

        text = str(lines)
        assert "media.example.com" not in text
        assert "hidden-result" not in text
        assert worker.welcome.session.hex() not in text.replace("-", "")


class TestMetrics:
    async def test_counts(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """Events, claims, ends, answers and sessions are counted."""
        name = "count-me"
        before = self.counts(name)
        worker = await workers.connect(service.address, function(name, max_attempts=2))
        await jobs.start_job()
        await worker.fail((await worker.take_one()).token)
        await worker.complete((await worker.take_one()).token)
        await worker.report(b"odd", released=pb.Released())

        grown = [after - was for after, was in zip(self.counts(name), before, strict=True)]

        assert [1, 2, 1, 1, 2, 1, 1] == grown

    @staticmethod
    def counts(name: str) -> list[float]:
        """Return the counters that a job moves."""
        ended = "mainstay_jobs_attempts_ended_total"
        reports = "mainstay_jobs_reports_total"
        return [
            value("mainstay_jobs_events_total", event="video/upload.completed", outcome="accepted"),
            value("mainstay_jobs_claimed_total", function=name),
            value(ended, function=name, state="retrying"),
            value(ended, function=name, state="succeeded"),
            value(reports, state="stored"),
            value(reports, state="rejected"),
            value("mainstay_jobs_sessions"),
        ]

    async def test_queue(
        self, service: Service, jobs: Producer, workers: Workers, postgres_url: str
    ) -> None:
        """The queue is measured: what is ready, delayed, running, and for how long."""
        worker = await workers.connect(service.address)
        for _ in range(4):
            await jobs.start_job()
        running, failed = await worker.take(2)
        await worker.fail(failed.token, retry_after=seconds(3600))
        postgres = Postgres(postgres_url)
        await postgres.start()

        told: dict[str, str | None] = {}
        await QueueGauges(PostgresQueues(postgres), told.__setitem__).run_once()

        await postgres.close()
        assert (2, 1, 1) == (
            value("mainstay_jobs_queue_ready"),
            value("mainstay_jobs_queue_delayed"),
            value("mainstay_jobs_running"),
        )
        assert 0 < value("mainstay_jobs_queue_oldest_seconds") < 10
        assert {"queue_old": None, "transaction_old": None, "dead_rows": None} == told
        assert await worker.beat(running.token) == []
