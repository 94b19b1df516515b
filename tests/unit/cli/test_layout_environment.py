"""The variables by which the parts of the suite find each other."""

from cli.layout import Layout


class TestEnvironment:
    def test_tells_the_rate_limits_where_plans_are_looked_up_and_changed(self) -> None:
        """Through the cache service, and by events of the jobs service."""
        layout = Layout.on_free_ports()
        variables = layout.environment()

        assert layout.service("cache").address == variables["MAINSTAY_RATELIMIT_CACHE_ADDRESS"]
        assert layout.service("jobs").address == variables["MAINSTAY_RATELIMIT_JOBS_ADDRESS"]

    def test_tells_the_jobs_where_rates_are_kept(self) -> None:
        """Jobs and requests draw on the same budgets."""
        layout = Layout.on_free_ports()

        address = layout.environment()["MAINSTAY_JOBS_RATELIMIT_ADDRESS"]
        assert layout.service("ratelimit").address == address
