"""The real jobs service on a real PostgreSQL, with events that take any payload."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from services.jobs.app import build
from services.jobs.settings import JobsSettings

EVENTS = ("test/work", "test/follow-up")
# Short, so that what is lost is found soon; long enough for a machine that is busy.
TERMS: dict[str, Any] = {
    "jobs_session_lease": 2.0,
    "jobs_heartbeat_interval": 0.4,
    "jobs_resume_window": 0.5,
    "shutdown_grace": 2.0,
}


def write_policies(folder: Path) -> Path:
    """Write a policies folder with schemas for the events of the tests."""
    events = folder / "events"
    events.mkdir(parents=True)
    for name in EVENTS:
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": name,
            "description": "Something for a worker to do.",
            "x-mainstay-event": name,
            "x-mainstay-version": 1,
            "type": "object",
        }
        (events / f"{name.replace('/', '.')}.v1.json").write_text(json.dumps(schema))
    (folder / "jobs.yaml").write_text("default: {weight: 1}\ntenants: {}\n")
    return folder


@asynccontextmanager
async def serving(
    postgres_url: str, policies: Path, *, port: int = 0, **settings: Any
) -> AsyncIterator[str]:
    """Serve within the block; yields the address."""
    service = build(
        JobsSettings(
            postgres_url=postgres_url,
            policies_dir=policies,
            jobs_port=port,
            jobs_ops_port=0,
            **TERMS | settings,
        )
    )
    async with service.running():
        yield service.address
