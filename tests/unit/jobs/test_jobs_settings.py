"""The settings of the jobs service."""

import pytest
from pydantic import ValidationError

from services.jobs.settings import JobsSettings

URL = "postgresql://mainstay@127.0.0.1:5432/mainstay"


class TestHeartbeat:
    def test_half_of_the_lease(self) -> None:
        """A worker may miss a beat without losing its jobs."""
        settings = JobsSettings.model_validate(
            {"postgres_url": URL, "jobs_session_lease": 20, "jobs_heartbeat_interval": 10}
        )

        assert (20, 10) == (settings.jobs_session_lease, settings.jobs_heartbeat_interval)

    def test_too_rare(self) -> None:
        """A heartbeat that is too rare for the lease is refused."""
        with pytest.raises(ValidationError, match="at most half of JOBS_SESSION_LEASE"):
            JobsSettings.model_validate(
                {"postgres_url": URL, "jobs_session_lease": 20, "jobs_heartbeat_interval": 10.1}
            )
