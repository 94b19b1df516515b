"""The arguments that many commands have, and how they ask the service."""

import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cli.arguments import UsageError, length
from cli.asking import Service, ask
from mainstay.channel import Channel
from mainstay.jobs import JobClient

JOBS = Service(name="jobs", called="the jobs service", answers="does")
HERE = Path(".mainstay")
ENDED_BADLY = 3
"""The exit status of `watch` when a job did not succeed."""

T = TypeVar("T")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id.")]
Tenant = Annotated[str | None, typer.Option(help="Whose jobs. Default: the service's default.")]
DataDir = Annotated[Path, typer.Option(help="The --data-dir of the suite that runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Most = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
Key = Annotated[str | None, typer.Option(help="Makes it unique for 30 days, and safe to repeat.")]
Priority = Annotated[
    int | None, typer.Option(help="-100 to 100. Default: as the function declares.")
]
Delay = Annotated[str | None, typer.Option(help="How long it has to wait: 90s, 5m, 7d.")]
Data = Annotated[
    str, typer.Argument(metavar="[DATA|@FILE|-]", help="A JSON object; - reads it from stdin.")
]


def ask_jobs(call: Callable[[JobClient], Awaitable[T]], tenant: str | None, data_dir: Path) -> T:
    """Ask the jobs service, or say in one line why it did not answer and exit."""

    async def connected(channel: Channel) -> T:
        return await call(JobClient(channel))

    return ask(JOBS, connected, tenant=tenant, data_dir=data_dir)


async def first(found: AsyncGenerator[T, None], most: int) -> tuple[T, ...]:
    """Return the first of many, and one more where there are more, for `cut` to tell of."""
    taken: list[T] = []
    async with aclosing(found):
        async for each in found:
            taken.append(each)
            if len(taken) > most:
                break
    return tuple(taken)


async def every(found: AsyncGenerator[T, None]) -> tuple[T, ...]:
    """Return all of a list that is as long as what operators have made."""
    async with aclosing(found):
        return tuple([each async for each in found])


def cut(found: tuple[T, ...], most: int) -> tuple[T, ...]:
    """Return as many as were wanted, and say on stderr when there are more."""
    if len(found) > most:
        typer.echo(f"there are more than these {most:,}; --limit says how many to list", err=True)
    return found[:most]


def delay_of(text: str | None) -> float | None:
    """Return how long something has to wait, in seconds."""
    return None if text is None else length(text, "--delay").total_seconds()


def payload(text: str, what: str = "DATA") -> Any:
    """Return the value of JSON text, of that in `@file`, or of that on stdin for `-`."""
    try:
        return json.loads(_read(text, what))
    except ValueError as error:  # no JSON, or no UTF-8
        raise UsageError(f"{what} is not JSON ({error}); quote it: '{{\"n\": 1}}'") from None


def json_object(text: str, what: str = "DATA") -> Mapping[str, Any]:
    """Return a JSON object, as `payload` reads it."""
    value = payload(text, what)
    if not isinstance(value, dict):
        raise UsageError(f"{what} should be a JSON object, such as '{{\"n\": 1}}'")
    return value


def _read(text: str, what: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"{what}: {text[1:]!r} cannot be read ({reason}); name a file after @"
        ) from None


def now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)
