"""`mainstay jobs send` and `enqueue`."""

from typing import Annotated

import typer

from cli.asking import sensible
from cli.documents import text
from cli.jobs.options import (
    HERE,
    Data,
    DataDir,
    Delay,
    Json,
    Key,
    Priority,
    Tenant,
    ask_jobs,
    delay_of,
    json_object,
)
from mainstay.jobs import AcceptedEvent


def send(
    event: Annotated[str, typer.Argument(help="Its name, such as video/upload.completed.")],
    data: Data = "{}",
    version: Annotated[int, typer.Option(help="Of the schema. Default: the newest.", min=0)] = 0,
    key: Key = None,
    priority: Priority = None,
    delay: Delay = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Send an event, and tell which jobs it has started."""
    value, wait = sensible(lambda: (json_object(data), delay_of(delay)))
    accepted = ask_jobs(
        lambda client: client.send_event(
            event, value, version=version, idempotency_key=key, priority=priority, delay=wait
        ),
        tenant,
        data_dir,
    )
    typer.echo(text(accepted) if json else _told(event, accepted))


def _told(event: str, accepted: AcceptedEvent) -> str:
    again = " had been accepted before" if accepted.duplicate else " accepted"
    jobs = accepted.job_ids
    if not jobs:
        return f"event {accepted.event_id}{again}; no function is started by {event}"
    return "\n".join([f"event {accepted.event_id}{again}; its jobs:", *jobs])


def enqueue(
    function: Annotated[str, typer.Argument(help="Its name, such as process-video.")],
    data: Data = "{}",
    key: Key = None,
    priority: Priority = None,
    delay: Delay = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Start one job of a function, without an event."""
    value, wait = sensible(lambda: (json_object(data), delay_of(delay)))
    job = ask_jobs(
        lambda client: client.enqueue(
            function, value, idempotency_key=key, priority=priority, delay=wait
        ),
        tenant,
        data_dir,
    )
    again = " had been enqueued before" if job.duplicate else " enqueued"
    typer.echo(text(job) if json else f"job {job.job_id}{again}")


def add_to(family: typer.Typer) -> None:
    """Hang these commands under `mainstay jobs`."""
    family.command()(send)
    family.command()(enqueue)
