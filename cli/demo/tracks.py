"""The act that looks at the tracks the request left in every process."""

from cli.demo.acts import Scene
from cli.demo.crew import Crew
from cli.demo.evidence import logs_that_name, services_in_trace, until
from cli.layout import SERVICES
from cli.run_directory import RunDirectory

PROCESSES = 5
FLUSH_TIMEOUT = 5.0  # spans are written in batches


async def one_request(scene: Scene, crew: Crew, directory: RunDirectory, trace_id: str) -> None:
    """Find the request id in every log, and one trace through every process."""
    expected = {*SERVICES, *(worker.name for worker in crew.workers)}

    async def named() -> set[str]:
        logs = (directory.log(name) for name in expected)
        return set(logs_that_name(scene.request.request_id, logs))

    async def traced() -> set[str]:
        return services_in_trace(trace_id, directory.data("traces").glob("*.jsonl"))

    found = await until(named, lambda found: found == expected, seconds=FLUSH_TIMEOUT)
    scene.stage.claim(
        f"request …{scene.request.request_id[-8:]} in the logs of {', '.join(sorted(found))}",
        holds=found == expected,
    )
    services = await until(
        traced, lambda services: len(services) > PROCESSES, seconds=FLUSH_TIMEOUT
    )
    scene.stage.claim(
        f"trace …{trace_id[-8:]} through {len(services)} processes: {', '.join(sorted(services))}",
        holds=len(services) >= PROCESSES and services >= set(SERVICES),
    )
