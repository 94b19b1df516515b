"""Every query of the dashboards and alerts, asked of a real Prometheus that scrapes the suite."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import chain
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
import yaml

from cli.layout import Layout
from cli.ports import free_ports
from cli.settings import SuiteSettings
from cli.suite import Suite
from mainstay import Mainstay, Worker
from mainstay.errors import NotFoundError
from mainstay.jobs import JobContext, NonRetryableError
from tests.integration.health.pollers.fleet import program, running, until
from tests.integration.observability.shown_queries import (
    ALERTS,
    DEPLOY,
    Json,
    Query,
    dashboard_queries,
    names_of,
    rule_queries,
    unknown_names,
)

EVENT = "email/send"
PATIENCE = 40.0

# What a suite that is well, and two minutes old, has no series of. Everything else must have some.
NO_SERIES_YET = {
    r"ALERTS\b.*": "nothing fires",
    r'.*reason="OVERLOADED".*': "nothing is shed",
    r".*code=~.*": "there are no faults",
    r".*(_evictions|_quota_refusals|_degraded_decisions|_shed|_jobs_maintained)_total.*": "nothing "
    "was evicted, refused, decided without Redis or shed, and maintenance is hourly",
    r"mainstay_jobs_schedule_ticks_total": "cron has minutes",
    r"mainstay_(sentry_reports|health_webhooks)_total": "nobody is told",
    r".*target=~.certificate.*": "none is watched",
    r'.*outcome!="passed".*': "every probe passed",
    r"mainstay_measured_duration_seconds.*": "sweeps are seldom",
}

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


class Answer(NamedTuple):
    """What Prometheus says to a query: series with their values, or why it does not."""

    series: list[Json]
    error: str

    @property
    def values(self) -> list[float]:
        return [float(each["value"][1]) for each in self.series]


class Prometheus:
    """Asks a Prometheus over its HTTP API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, expression: str) -> Answer:
        """Run a query now."""
        said = (await self._client.get("/api/v1/query", params={"query": expression})).json()
        if said["status"] != "success":
            return Answer([], said["error"])
        return Answer(said["data"]["result"], "")

    async def scraped_names(self) -> set[str]:
        """Return the names of all samples that the targets have said they may have."""
        said = (await self._client.get("/api/v1/targets/metadata")).json()
        families = {(each["metric"], each["type"]) for each in said["data"]}
        return {*chain.from_iterable(names_of(*family) for family in families)}

    async def ready(self) -> bool:
        with suppress(httpx.TransportError):
            return (await self._client.get("/-/ready")).is_success
        return False

    async def scraped_anew(self) -> None:
        """Wait until each process was scraped twice more, and the rules were evaluated."""
        (now,) = (await self.ask("vector(time())")).values

        async def holds() -> bool:
            later = await self.ask(f'timestamp(up{{job="mainstay"}}) > {now + 1.5}')
            return len(later.series) == 4

        await until(holds)


class Seen(NamedTuple):
    """What Prometheus answered, by query and by selector, and the names that it scraped."""

    answers: dict[str, Answer]
    names: set[str]

    def mistakes(self, query: Query) -> list[str]:
        """Return what is wrong with a query, in words."""
        return self.wrong_in(query) or [
            *(f"no series: {one}" for one in self.empty(query)),
            *self._wrong_answers(query),
        ]

    def wrong_in(self, query: Query) -> list[str]:
        """Return what is wrong with a query whatever has happened."""
        error = self.answers[query.expression].error
        unknown = unknown_names(query, self.names)
        return [error] if error else [f"nobody exports {name}" for name in unknown]

    def empty(self, query: Query) -> list[str]:
        """Return the metrics in a query that should have series and have none."""
        empty = [one for one in query.selectors if not self.answers[one].series]
        return [one for one in empty if not _expected(one)]

    def _wrong_answers(self, query: Query) -> Iterator[str]:
        answer = self.answers[query.expression]
        # What has never happened may leave a query without an answer; what has, has a number.
        if not any(map(_expected, query.selectors)) and all(map(isnan, answer.values)):
            yield f"no number among {answer.values}"
        for one in answer.series:
            if query.labels - set(one["metric"]):
                yield f"the legend {query.legend} does not fit {one['metric']}"


def _expected(selector: str) -> bool:
    return any(re.fullmatch(pattern, selector) for pattern in NO_SERIES_YET)


class Traffic:
    """Uses everything that dashboards show."""

    def __init__(self, mainstay: Mainstay, worker: Worker) -> None:
        self._mainstay = mainstay
        self._ended = asyncio.Event()
        worker.function("send-email", on=EVENT)(self._succeed)
        worker.function("send-postcard", on=EVENT)(self._fail)

    @staticmethod
    async def _succeed(job: JobContext) -> None:
        """Do nothing, well."""

    @staticmethod
    async def _fail(job: JobContext) -> None:
        raise NonRetryableError("there is no address")

    async def once(self) -> None:
        """Use each service."""
        async with asyncio.timeout(PATIENCE):
            await self._use_cache()
            await self._use_limits()
            await self._use_ai()
            await self._run_jobs()
            await self._mainstay.health.get_report()

    async def _use_cache(self) -> None:
        cache = self._mainstay.cache

        async def compute() -> bytes:
            await asyncio.sleep(0.005)  # what takes no time is none that could be saved
            return b"dear"

        await cache.set("videos", "there", b"1")
        for key in ("there", "there", "there", "not-there"):
            await cache.get("videos", key)
        await cache.get_or_compute("videos", "computed", compute)
        await cache.get_or_compute("videos", "computed", compute)

    async def _use_limits(self) -> None:
        limits = self._mainstay.ratelimit
        await limits.assign_plan("user:bob", "pro")
        await limits.check("user:bob", "auth")
        allowed = [(await limits.check("user:ann", "auth")).allowed for _ in range(6)]
        assert not allowed[-1]
        await limits.check("user:ann", "/api/other")

    async def _use_ai(self) -> None:
        limits = self._mainstay.ratelimit
        call: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "input_tokens": 900}
        reserved = await limits.reserve_ai_usage("user:ann", **call, max_output_tokens=100)
        denied = await limits.reserve_ai_usage("user:ann", **call, max_output_tokens=10_000_000)
        used: dict[str, Any] = {**call, "output_tokens": 80, "latency": timedelta(seconds=1.2)}
        await limits.record_ai_usage(
            "user:ann", **used, cached_input_tokens=100, reservation=reserved.reservation
        )
        await limits.record_ai_usage("user:ann", **used, error="overloaded")
        await limits.record_ai_usage("user:ann", **{**used, "provider": "own", "model": "small"})
        assert (True, False) == (reserved.decision.allowed, denied.decision.allowed)

    async def _run_jobs(self) -> None:
        jobs = self._mainstay.jobs
        sent = await jobs.send_event(EVENT, {"to": ["ann@example.com"], "template": "welcome"})
        assert 2 == len(sent.job_ids)
        for job_id in sent.job_ids:
            await jobs.wait_for_job(job_id, timeout=PATIENCE)
        with suppress(NotFoundError):
            await jobs.get_job("00000000-0000-0000-0000-000000000000")


@asynccontextmanager
async def traffic(layout: Layout) -> AsyncIterator[Traffic]:
    """Connect to a suite, with a worker."""
    addresses: dict[str, Any] = {service.name: service.address for service in layout.services}
    worker = Worker(addresses["jobs"], name="post", tenant="*")
    async with Mainstay(**addresses, tenant="acme") as mainstay:
        using = Traffic(mainstay, worker)
        work = asyncio.create_task(worker.run())
        await worker.ready()
        try:
            yield using
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work


def configured(layout: Layout, directory: Path) -> Path:
    """Return the configuration that is shipped, for this suite and in a hurry."""
    shipped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    shipped["rule_files"] = [str(ALERTS)]
    (job,) = shipped["scrape_configs"]
    for static in job["static_configs"]:
        static["targets"] = [layout.service(static["labels"]["service"]).ops_address]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(shipped))
    return path


@asynccontextmanager
async def prometheus(layout: Layout, directory: Path) -> AsyncIterator[Prometheus]:
    """Scrape a suite once a second."""
    (port,) = free_ports(1)
    argv = [
        program("prometheus"),
        f"--config.file={configured(layout, directory)}",
        f"--storage.tsdb.path={directory / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    async with running("prometheus", argv, directory):
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=address, timeout=10) as client:
            asking = Prometheus(client)
            await until(asking.ready)
            yield asking


BOGUS = [
    Query("a name that nobody has", "sum(rate(mainstay_cache_raeds_total[5m]))"),
    Query("a value that never is", 'mainstay_jobs_events_total{outcome="lost"}'),
    Query("half a query", "sum(rate(mainstay_cache_reads_total[5m])"),
    Query("a legend of nothing", "sum(mainstay_cache_reads_total)", "{{namespace}}"),
    Query("no observation", "histogram_quantile(0.5, mainstay_jobs_batch_calls_bucket * 0)"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Use a suite while it is scraped, then ask everything."""
    program("prometheus")  # before anything is started
    directory = tmp_path_factory.mktemp("dashboards")
    layout = Layout.on_free_ports()
    suite = Suite(data_dir=directory / "suite", layout=layout, settings=SuiteSettings())
    async with suite:
        await suite.start(lambda _: None)
        async with prometheus(layout, directory) as asking, traffic(layout) as using:
            # What is counted before the first scrape, or between two, is no rate.
            await using.once()
            await asking.scraped_anew()
            await using.once()
            await asking.scraped_anew()
            queries = [*dashboard_queries(), *rule_queries(), *BOGUS]
            return Seen(
                {each: await asking.ask(each) for each in _expressions(queries)},
                await asking.scraped_names(),
            )


def _expressions(queries: Iterable[Query]) -> set[str]:
    return {each for query in queries for each in (query.expression, *query.selectors)}


class TestDashboards:
    async def test_show_something_in_every_panel(self, seen: Seen) -> None:
        """What was used shows, under the names and labels that the panels have."""
        wrong = [(query.place, seen.mistakes(query)) for query in dashboard_queries()]

        assert [] == [(place, mistakes) for place, mistakes in wrong if mistakes]

    @pytest.mark.parametrize("query", BOGUS, ids=lambda query: query.place)
    async def test_that_are_wrong_are_noticed(self, seen: Seen, query: Query) -> None:
        """Otherwise the test above would be content with anything."""
        assert [] != seen.mistakes(query)


class TestAlerts:
    async def test_watch_what_there_is(self, seen: Seen) -> None:
        """Every metric in every rule has series, but those of what has never happened."""
        wrong = [(each.place, seen.wrong_in(each) or seen.empty(each)) for each in rule_queries()]

        assert [] == [(place, mistakes) for place, mistakes in wrong if mistakes]

    async def test_are_silent_about_a_suite_that_is_well(self, seen: Seen) -> None:
        """But for the dead letter that was made."""
        firing = seen.answers['ALERTS{alertstate="firing"}'].series

        assert {"MainstayDeadLettersGrow"} >= {one["metric"]["alertname"] for one in firing}

    async def test_keep_the_promises(self) -> None:
        """As deploy/prometheus/alerts_test.yaml has it: fire when they should, and only then."""
        promtool = program("promtool")
        for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
            ended = subprocess.run(  # noqa: ASYNC221 - nothing else goes on meanwhile
                [promtool, *command],
                cwd=ALERTS.parent,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert 0 == ended.returncode, ended.stdout + ended.stderr
