"""Which denials are asked for when no time is given."""

from collections.abc import Sequence
from types import SimpleNamespace

from services.ratelimit.analytics import Analytics, violation_page
from services.ratelimit.policy import DAY, SECOND
from services.ratelimit.violations import Place, Violation, ViolationQuery
from shared.rpc.call import Tenant

NOW = 1_760_000_000 * SECOND


class Asked:
    """A log that holds nothing and remembers what it was asked for."""

    query: ViolationQuery | None = None

    async def find(
        self, tenant: Tenant, query: ViolationQuery, *, after: Place | None, size: int
    ) -> Sequence[tuple[Place, Violation]]:
        self.query = query
        return ()


async def _nothing() -> None:
    """Write what is not there."""


class TestDefaultWindow:
    async def test_reaches_beyond_this_replicas_idea_of_now(self) -> None:
        """The store's clock, which a denial carries, may be ahead of what is known of it."""
        log = Asked()
        analytics = Analytics(
            violations=log,
            figures=SimpleNamespace(),
            top=SimpleNamespace(),
            recent=SimpleNamespace(write_out=_nothing),
            now_us=lambda: NOW,
        )
        await analytics.violations(
            Tenant("acme"), subject="", rule="", start=None, end=None, page=violation_page(10, "")
        )

        assert log.query is not None
        assert NOW + SECOND < log.query.end <= NOW + 60 * SECOND
        assert DAY == log.query.end - log.query.start
