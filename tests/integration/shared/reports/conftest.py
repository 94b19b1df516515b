"""A probe service whose process reports to an ingest that a test reads."""

from collections.abc import AsyncIterator, Iterator

import pytest
import sentry_sdk

from shared.telemetry.breadcrumbs import Breadcrumbs
from shared.telemetry.transactions import Transactions
from tests.integration.shared.probe import Probe, probe_service
from tests.integration.shared.reports.reporting import QUIET, connect
from tests.integration.shared.sentry_ingest import Ingest, sentry_ingest


@pytest.fixture
def _disconnected() -> Iterator[None]:
    yield
    sentry_sdk.get_client().close(timeout=0.1)
    sentry_sdk.get_global_scope().set_client(None)
    Breadcrumbs.installed = None
    Transactions.installed = None


@pytest.fixture
def ingest(_disconnected: None) -> Iterator[Ingest]:
    """Receive what this process reports, errors alone."""
    with sentry_ingest() as ingest:
        connect(ingest.dsn, **QUIET)
        yield ingest


@pytest.fixture
async def probe(ingest: Ingest) -> AsyncIterator[Probe]:
    async with probe_service() as probe:
        yield probe
