"""PostgreSQL dies under load: no call is slower for it, and memory stays bounded."""

import time
from collections.abc import AsyncIterator

import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.errors import MainstayError
from shared.telemetry import request_log
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import Probe, probe_service
from tests.integration.shared.telemetry_stage import MIGRATIONS, rows_metric, until_rows

CALLS = 400


@pytest.fixture
async def probe(private_postgres: PostgresServer, log_lines: ReadLog) -> AsyncIterator[Probe]:
    await MIGRATIONS.apply(private_postgres.url)
    async with probe_service(postgres_url=private_postgres.url) as probe:
        yield probe


async def fail_once(probe: Probe) -> None:
    """Make a call that has a row in any case."""
    with pytest.raises(MainstayError):
        await probe.get("raise", "NotFoundError")


async def latencies(probe: Probe) -> list[float]:
    """Make calls one after the other; return how long each took, in seconds, sorted."""
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await fail_once(probe)
        took.append(time.perf_counter() - began)
    return sorted(took)


def percentile(took: list[float], percent: float) -> float:
    return took[int(len(took) * percent / 100)]


class TestACall:
    @pytest.mark.parametrize("how", ["killed", "frozen"])
    async def test_is_no_slower(
        self, probe: Probe, private_postgres: PostgresServer, how: str
    ) -> None:
        """Than in the same run before; half of them by half, the slowest by three times at most.

        Whoever waits for PostgreSQL within a call waits for a refused connection and a retry: that
        is fifty times as long.
        """
        await latencies(probe)  # until everything is warm, and the writer connected
        before = await latencies(probe)
        if how == "killed":
            await private_postgres.kill()
        else:
            private_postgres.pause()
        after = sorted([*await latencies(probe), *await latencies(probe)])

        assert percentile(after, 50) < 1.5 * percentile(before, 50) + 0.001
        assert percentile(after, 99) < 3 * percentile(before, 99) + 0.005

    async def test_has_its_row_in_the_end(
        self, probe: Probe, private_postgres: PostgresServer
    ) -> None:
        """What happened while PostgreSQL was away is known once it is back."""
        await private_postgres.kill()
        await latencies(probe)
        await private_postgres.start()
        # More of them wake a writer that does not wait for PostgreSQL yet.
        await latencies(probe)

        assert len(await until_rows(private_postgres.url, 2 * CALLS)) == 2 * CALLS


class TestMemory:
    async def test_is_bounded(
        self,
        private_postgres: PostgresServer,
        log_lines: ReadLog,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """However long it lasts: the oldest rows go, and are counted."""
        monkeypatch.setattr("shared.telemetry.telemetry_rows.MAX_CALLS", 100)
        before = rows_metric("dropped_total", request_log.TABLE.name)
        async with probe_service(postgres_url=private_postgres.url) as probe:
            await private_postgres.kill()
            await latencies(probe)
            waiting = rows_metric("waiting")
            dropped = rows_metric("dropped_total") - before

        assert (100, CALLS - 100) == (waiting, dropped)
