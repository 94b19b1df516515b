"""How the commands reach the keys: in PostgreSQL itself, so that the first key needs no other."""

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from socket import gethostname
from typing import Annotated, TypeVar

import asyncpg
import typer

from cli.asking import fail
from cli.database import database
from cli.embedded.server import EmbeddedServerError
from cli.run_directory import RunDirectory, RunDirectoryTakenError
from mainstay.errors import MainstayError
from shared.config import load_settings
from shared.identity.ports import KeyAdministration
from shared.identity.postgres_administration import PostgresKeyAdministration
from shared.identity.postgres_keys import identity_postgres
from shared.process_settings import ProcessSettings

VARIABLE = "MAINSTAY_POSTGRES_URL"
HERE = Path(".mainstay")

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DataDir = Annotated[Path, typer.Option(help="The --data-dir of the suite that runs here.")]
Database = Annotated[
    str | None,
    typer.Option(
        "--postgres-url",
        metavar="URL",
        help=f"As the role that migrates. Default: {VARIABLE}, which no list of processes shows, "
        "else the PostgreSQL of `mainstay up`.",
    ),
]


def ask_keys(
    call: Callable[[KeyAdministration], Awaitable[T]], *, url: str | None, data_dir: Path
) -> T:
    """Do something with the keys, or say in one line why it could not be done and exit."""
    directory = RunDirectory(data_dir.absolute())

    async def asked() -> T:
        async with _url(url, directory) as found:
            postgres = identity_postgres(found, migrate=False)
            try:
                await postgres.start()
                return await call(PostgresKeyAdministration(postgres))
            finally:
                await postgres.close()

    try:
        return asyncio.run(asked())
    except MainstayError as error:
        fail(error.message)
    except (EmbeddedServerError, RunDirectoryTakenError) as error:
        fail(str(error))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        fail(f"the database did not do it: {error or type(error).__name__}")


@asynccontextmanager
async def _url(given: str | None, directory: RunDirectory) -> AsyncIterator[str]:
    if given is not None:
        yield given
        return
    # Of the settings this alone: who makes a key need not have those of a service.
    settings = load_settings(ProcessSettings)
    async with database(directory, settings) as url:
        yield url


def account() -> str:
    """Return who gives the command, for the audit log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container, as a user without a name
        user = str(os.getuid())
    return f"{user}@{gethostname()}"
