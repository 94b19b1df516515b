"""The arguments that the commands of an outbox have, and how they reach it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cli.asking import fail, misused
from mainstay.errors import ConfigurationError, MainstayError
from mainstay.outbox import Outbox

VARIABLE = "MAINSTAY_OUTBOX_URL"
HERE = Path(".mainstay")

T = TypeVar("T")

Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar=VARIABLE, show_envvar=False, help=f"Your database, or {VARIABLE}."
    ),
]
Schema = Annotated[str, typer.Option(help="The schema of the outbox.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Tenant = Annotated[
    str | None, typer.Option(help="Of messages without one. Default: the service's default.")
]
DataDir = Annotated[Path, typer.Option(help="The --data-dir of the suite that runs.")]


def outbox_of(database: str | None, schema: str) -> Outbox:
    """Return the outbox that was meant, or exit because there can be none."""
    if not database:
        misused(f"give --database URL, or set {VARIABLE}, which no list of processes shows")
    try:
        return Outbox(database, schema=schema)
    except ConfigurationError as error:
        misused(error.message)


def ask_outbox(call: Callable[[Outbox], Awaitable[T]], database: str | None, schema: str) -> T:
    """Do something with an outbox, or say in one line why it could not be done and exit."""
    outbox = outbox_of(database, schema)

    async def asked() -> T:
        return await call(outbox)

    try:
        return asyncio.run(asked())
    except MainstayError as error:
        fail(error.message)
