"""What is known of every method: a method that is not here fails the build."""

from collections.abc import Mapping

from tests.integration.tenants import (
    cache_cases,
    cache_entry_cases,
    job_cases,
    queue_cases,
    ratelimit_cases,
    ratelimit_check_cases,
)
from tests.integration.tenants.case import Entry, ForOperators, NothingOfTenants

HEALTH = "mainstay.health.v1.HealthService"
OF_THE_SUITE = NothingOfTenants(
    reason="The report is about the processes and stores of the suite, which serve all tenants."
)
OF_A_PROCESS = NothingOfTenants(
    reason="It tells whether a process takes calls, to balancers that know no tenants."
)

REGISTRY: Mapping[str, Entry] = {
    **{f"{cache_entry_cases.SERVICE}.{name}": case for name, case in cache_cases.CASES.items()},
    **{
        f"{ratelimit_check_cases.SERVICE}.{name}": case
        for name, case in ratelimit_cases.CASES.items()
    },
    **ratelimit_cases.ENVOY_CASES,
    **{
        f"{job_cases.SERVICE}.{name}": case
        for name, case in {**job_cases.CASES, **queue_cases.CASES}.items()
    },
    **{f"{job_cases.WORKER}.{name}": case for name, case in queue_cases.WORKER_CASES.items()},
    f"{HEALTH}.GetReport": OF_THE_SUITE,
    f"{HEALTH}.WatchReport": OF_THE_SUITE,
    f"{HEALTH}.GetHistory": OF_THE_SUITE,
    f"{HEALTH}.Explain": OF_THE_SUITE,
    f"{HEALTH}.SetMaintenance": ForOperators(
        reason="What is taken out of service is out of service for all tenants."
    ),
    f"{HEALTH}.Ready": OF_THE_SUITE,
    "grpc.health.v1.Health.Check": OF_A_PROCESS,
    "grpc.health.v1.Health.List": OF_A_PROCESS,
    "grpc.health.v1.Health.Watch": OF_A_PROCESS,
}
