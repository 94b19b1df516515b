"""Dashboards and alerts against a scrape of the services, where no Prometheus is at hand."""

import re
import subprocess
import sys
from collections import Counter
from typing import Any

import httpx
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from typer.main import get_command

import services.cache.app
import services.health.app
import services.jobs.app
import services.ratelimit.app
from cli.main import app as command_line
from mainstay.cache.v1 import cache_service_pb2
from mainstay.health.v1 import health_service_pb2
from mainstay.jobs.v1 import job_service_pb2, worker_service_pb2
from mainstay.ratelimit.v1 import ratelimit_service_pb2
from services.cache.servicer import METHODS as CACHE_METHODS
from services.health.servicer import METHODS as HEALTH_METHODS
from services.jobs import serving_workers
from services.jobs.servicer import METHODS as JOBS_METHODS
from services.ratelimit.servicer import METHODS as RATELIMIT_METHODS
from shared.operations import operations_app
from shared.rpc.health import HealthRegistry
from shared.rpc.pipeline import UNKNOWN_METHOD
from shared.rpc.policy import MethodPolicy
from shared.telemetry.tracing import SERVER_FAULTS
from tests.integration.observability.shown_queries import (
    ALERTS,
    DEPLOY,
    Query,
    dashboard_queries,
    dashboards,
    names_in_scrape,
    rule_queries,
    rules,
    unknown_names,
)

EXPORTING = (services.cache.app, services.health.app, services.jobs.app, services.ratelimit.app)
ROOT = DEPLOY.parent
GUIDE = ROOT / "docs" / "observability.md"

POLICIES: list[tuple[ServiceDescriptor, dict[str, MethodPolicy]]] = [
    (cache_service_pb2.DESCRIPTOR.services_by_name["CacheService"], CACHE_METHODS),
    (health_service_pb2.DESCRIPTOR.services_by_name["HealthService"], HEALTH_METHODS),
    (job_service_pb2.DESCRIPTOR.services_by_name["JobService"], JOBS_METHODS),
    (worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"], serving_workers.METHODS),
    (ratelimit_service_pb2.DESCRIPTOR.services_by_name["RateLimitService"], RATELIMIT_METHODS),
]


@pytest.fixture
async def exported() -> set[str]:
    """Scrape a process that all four services are loaded into."""
    operations = httpx.ASGITransport(operations_app("cache", HealthRegistry()))
    async with httpx.AsyncClient(transport=operations, base_url="http://cache") as client:
        answer = await client.get("/metrics")
    return names_in_scrape(answer.text)


class TestSelectors:
    @pytest.mark.parametrize(
        ("expression", "selectors"),
        [
            ('sum by (le, a) (rate(x_bucket{b="{c}", d!~"e"}[5m]))', ['x_bucket{b="{c}", d!~"e"}']),
            ("1 - y:z:rate5m > 0.5 and up offset 1h or vector(0)", ["y:z:rate5m", "up"]),
            ("a / on (b) group_left (c) d", ["a", "d"]),
        ],
    )
    def test_are_found_in_a_query(self, expression: str, selectors: list[str]) -> None:
        """Groupings, functions, durations and numbers are none."""
        assert selectors == Query("here", expression).selectors


class TestNames:
    def test_are_exported(self, exported: set[str]) -> None:
        """What nobody exports is an empty panel, or an alert that never fires."""
        queries = [*dashboard_queries(), *rule_queries()]
        unknown = [(query.place, unknown_names(query, exported)) for query in queries]

        assert [] == [(place, names) for place, names in unknown if names]
        assert len(queries) > 150

    def test_that_do_not_exist_are_noticed(self, exported: set[str]) -> None:
        """Of a query that has one of each."""
        query = Query("here", "rate(mainstay_cache_reads_total[5m]) / mainstay_cache_raeds_total")

        assert {"mainstay_cache_raeds_total"} == unknown_names(query, exported)


class TestGuide:
    def test_names_metrics_that_are_exported(self, exported: set[str]) -> None:
        """In docs/observability.md."""
        named = set(re.findall(r"`(mainstay_\w+)(?:\{[^`]*\})?`", GUIDE.read_text()))

        assert [] == [name for name in named if not {name, f"{name}_bucket"} & exported]
        assert named


class TestDashboards:
    def test_are_what_their_description_makes(self) -> None:
        """Or `make gen` was forgotten."""
        check = [sys.executable, "scripts/build_dashboards.py", "--check"]
        ended = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)

        assert ("", 0) == (ended.stderr, ended.returncode)

    def test_can_be_provisioned_anywhere(self) -> None:
        """Each has a name of its own, the tag that links them, and the chosen data source."""
        pages = dashboards()
        sources = {
            str(part["datasource"]["uid"])
            for page in pages
            for part in (*page["panels"], *page["templating"]["list"])
            if "datasource" in part
        }

        assert 6 == len({page["uid"] for page in pages})
        assert [["mainstay"]] * 6 == [page["tags"] for page in pages]
        assert {"${DS_PROMETHEUS}"} == sources
        assert {"DS_PROMETHEUS"} == {page["templating"]["list"][0]["name"] for page in pages}

    def test_say_on_every_panel_what_to_do(self) -> None:
        """A picture alone mends nothing."""
        silent = [
            panel["title"]
            for page in dashboards()
            for panel in page["panels"]
            if panel["type"] != "row" and len(panel["description"]) < 20
        ]

        assert [] == silent

    def test_have_no_panel_twice(self) -> None:
        """Titles are unique on a page, so that a test can name one."""
        for page in dashboards():
            titles = Counter(panel["title"] for panel in page["panels"] if "targets" in panel)
            assert 1 == max(titles.values()), titles


class TestAlerts:
    def test_say_what_is_wrong_and_what_to_do(self) -> None:
        """Whoever is woken reads this first."""
        for alert in (rule for rule in rules() if "alert" in rule):
            assert {"summary", "description", "runbook"} == set(alert["annotations"]), alert
            assert alert["labels"]["severity"] in {"page", "ticket"}, alert


class TestAdvice:
    def test_names_commands_that_exist(self) -> None:
        """In descriptions, runbooks and the guide."""
        texts = [ALERTS.read_text(), GUIDE.read_text()]
        texts += [panel.get("description", "") for page in dashboards() for panel in page["panels"]]
        named = {found for text in texts for found in re.findall(r"`mainstay ([a-z -]+)`", text)}
        known = set(_commands(get_command(command_line), ()))

        assert set() == named - known
        assert named


class TestCallsThatCount:
    def test_are_all_but_streams_probes_and_strangers(self) -> None:
        """As the policies of the methods have it, in every query about calls."""
        calls, durations = set[str](), set[str]()
        for service, policies in POLICIES:
            for method in service.methods:
                streams = method.client_streaming or method.server_streaming
                name = f"{service.full_name}/{method.name}"
                if streams or policies[method.name].quiet:
                    calls.add(name)
                if streams or policies[method.name].quiet or policies[method.name].waits:
                    durations.add(name)
        strangers = {f"/{UNKNOWN_METHOD}", "grpc.health.v1.Health/Check"}

        assert calls | strangers == _left_out("mainstay_rpc_server_calls_total")
        assert durations | strangers == _left_out(
            "mainstay_rpc_server_call_duration_seconds_bucket"
        )

    def test_fail_by_the_faults_that_traces_have(self) -> None:
        """OpenTelemetry's, wherever a share of failures is computed."""
        codes = {
            code
            for query in [*dashboard_queries(), *rule_queries()]
            for code in re.findall(r'code=~"([^"]+)"', query.expression)
        }

        assert [SERVER_FAULTS] == [set(each.split("|")) for each in codes]


def _left_out(metric: str) -> set[str]:
    """Return the methods that all queries about a metric leave out."""
    methods = [
        f"{service.full_name}/{method.name}"
        for service, _ in POLICIES
        for method in service.methods
    ]
    methods += [f"/{UNKNOWN_METHOD}", "grpc.health.v1.Health/Check"]
    patterns = {
        pattern
        for query in [*dashboard_queries(), *rule_queries()]
        for selector in query.selectors
        if selector.startswith(f"{metric}{{")
        for pattern in re.findall(r'method!~"([^"]+)"', selector)
    }
    (pattern,) = patterns
    return {method for method in methods if re.fullmatch(pattern, method)}


def _commands(command: Any, path: tuple[str, ...]) -> list[str]:
    """Return every command, groups included, as it is typed."""
    found = [" ".join(path)]
    for name, child in getattr(command, "commands", {}).items():
        found += _commands(child, (*path, name))
    return found
