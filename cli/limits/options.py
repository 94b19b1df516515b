"""The arguments that many commands have, and how they ask the service."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cli.arguments import UsageError
from cli.asking import Service, ask
from mainstay.channel import Channel
from mainstay.ratelimit import RateLimitClient

LIMITS = Service(name="ratelimit", called="the rate limits", answers="do")
HERE = Path(".mainstay")
ALL_TENANTS = "*"
# For so long the service keeps what it denied.
KEPT = timedelta(days=90)

T = TypeVar("T")

Subject = Annotated[str, typer.Argument(help="Who, such as user:42.")]
Endpoint = Annotated[str, typer.Argument(help="A path such as /api/chat, or a name of the policy.")]
Rule = Annotated[str, typer.Argument(help="A rule of the policy.")]
Plan = Annotated[str | None, typer.Option(help="The plan. Default: the assigned one.")]
Cost = Annotated[int, typer.Option(help="How much it weighs.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]
Tenant = Annotated[str | None, typer.Option(help="Whose limits. Default: the service's default.")]
DataDir = Annotated[Path, typer.Option(help="The --data-dir of the suite that runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def ask_limits(
    call: Callable[[RateLimitClient], Awaitable[T]], tenant: str | None, data_dir: Path
) -> T:
    """Ask the rate limits, or say in one line why they did not answer and exit."""

    async def connected(channel: Channel) -> T:
        async with RateLimitClient(channel) as client:
            return await call(client)

    return ask(LIMITS, connected, tenant=tenant, data_dir=data_dir)


async def first(found: AsyncGenerator[T, None], most: int) -> tuple[T, ...]:
    """Return the first of many."""
    taken: list[T] = []
    async with aclosing(found):
        async for each in found:
            taken.append(each)
            if len(taken) == most:
                break
    return tuple(taken)


def shifted(span: timedelta, option: str) -> datetime:
    """Return the moment that is so long from now; a negative span leads back."""
    try:
        return datetime.now(UTC) + span
    except OverflowError:
        raise UsageError(f"{option} leads beyond the calendar; give 366d at most") from None


def document(name: str) -> str:
    """Return the text of a file, or of stdin for `-`."""
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{name!r} cannot be read ({error.strerror or error}); name a file, or - for stdin"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{name!r} is not UTF-8; write the policy in UTF-8") from None
