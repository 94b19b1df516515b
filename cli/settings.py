"""All settings of all services in one object."""

from pydantic import Field, SecretStr

from services.cache.settings import CacheSettings
from services.health.settings import HealthSettings
from services.jobs.settings import JobsSettings
from services.ratelimit.settings import RateLimitSettings


class SuiteSettings(CacheSettings, RateLimitSettings, JobsSettings, HealthSettings):
    """What the suite can be told; every mistake is reported before anything is started.

    A service needs the addresses of its stores; the suite starts the stores it is not given.
    """

    brought = frozenset({"redis_url", "postgres_url"})

    redis_url: SecretStr | None = Field(  # type: ignore[assignment]  # wider on purpose, see above
        None, description="The Redis to use; unset, one is started here."
    )
    postgres_url: SecretStr | None = Field(  # type: ignore[assignment]
        None, description="The PostgreSQL to use; unset, one is started here."
    )
