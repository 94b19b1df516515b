"""What the demo finds in the logs and spans of other processes."""

import json
from pathlib import Path

from cli.demo.evidence import logs_that_name, services_in_trace, until


def span(trace_id: str, service: str) -> str:
    return json.dumps(
        {
            "name": "mainstay.cache.v1.CacheService/Get",
            "context": {"trace_id": f"0x{trace_id}", "span_id": "0x1"},
            "resource": {"attributes": {"service.name": service}},
        }
    )


class TestLogs:
    def test_names_the_logs_that_hold_the_request(self, tmp_path: Path) -> None:
        """One line is enough; a log without one, or no log at all, is not evidence."""
        (tmp_path / "cache.log").write_text('{"request_id":"other"}\n{"request_id":"wanted"}\n')
        (tmp_path / "jobs.log").write_text('{"request_id":"other"}\n')
        logs = [tmp_path / f"{name}.log" for name in ("cache", "jobs", "health")]

        expected = {"cache": '{"request_id":"wanted"}'}

        assert expected == logs_that_name("wanted", logs)


class TestTrace:
    def test_counts_the_processes_of_one_trace(self, tmp_path: Path) -> None:
        """Spans of other traces and a line that is still being written do not count."""
        wanted, other = "a" * 32, "b" * 32
        (tmp_path / "cache.jsonl").write_text(f"{span(other, 'x')}\n{span(wanted, 'cache')}\n")
        (tmp_path / "jobs.jsonl").write_text(f"{span(wanted, 'jobs')}\n{span(wanted, 'y')[:20]}")

        assert {"cache", "jobs"} == services_in_trace(wanted, tmp_path.glob("*.jsonl"))


class TestUntil:
    async def test_returns_as_soon_as_it_is_enough(self) -> None:
        """It looks again and again, and stops at the first look that satisfies."""
        looks = iter([1, 2, 3, 4])

        async def look() -> int:
            return next(looks)

        assert await until(look, lambda seen: seen > 2, seconds=10) == 3

    async def test_returns_the_last_look_when_time_is_over(self) -> None:
        """The caller judges what was there in the end."""

        async def look() -> int:
            return 1

        assert await until(look, lambda seen: seen > 1, seconds=0) == 1
