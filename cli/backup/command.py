"""`mainstay backup` and `mainstay restore`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from rich.console import Console

from cli.asking import fail, misused
from cli.backup.errors import BackupError, RefusedError
from cli.backup.programs import VARIABLE
from cli.backup.restoring import restore as restore_file
from cli.backup.saving import Progress, save
from cli.console import console, table
from cli.database import database
from cli.embedded.server import EmbeddedServerError
from cli.migrate import all_migrations
from cli.paths import shown
from cli.run_directory import RunDirectory, RunDirectoryTakenError
from cli.settings import SuiteSettings
from cli.wording import size
from mainstay.errors import ConfigurationError, MainstayError
from shared.config import load_settings

DataDir = Annotated[
    Path, typer.Option(help="Where the embedded PostgreSQL lives when no address is set.")
]
ProgramsIn = Annotated[
    Path | None,
    typer.Option(
        "--pg-bin",
        envvar=VARIABLE,
        show_envvar=False,
        help=f"Where pg_dump, pg_restore and psql are, or {VARIABLE}. Default: the PATH.",
    ),
]


def backup(
    output: Annotated[
        Path | None, typer.Option(help="The file. Default: mainstay-<time>.dump, here.")
    ] = None,
    data_dir: DataDir = Path(".mainstay"),
    pg_bin: ProgramsIn = None,
) -> None:
    """Write all that Mainstay keeps in PostgreSQL into one file, as of one moment.

    Services may go on meanwhile. Works on MAINSTAY_POSTGRES_URL; without it, on the
    PostgreSQL that `mainstay up` runs or would run. The file is one of pg_dump's. It
    holds the data of all tenants. Exits with 1 if there is no backup, and leaves no
    file then.
    """
    file = output or Path(f"mainstay-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump")

    async def work(url: str, progress: Progress) -> None:
        made = await save(url, file.absolute(), programs_in=pg_bin, progress=progress)
        _print_rows(made.rows)
        typer.echo(
            f"saved {shown(made.file)} ({size(made.size)}) from PostgreSQL {made.server} in "
            f"{made.seconds:.1f} s"
        )

    _run(work, data_dir)


def restore(
    file: Annotated[Path, typer.Argument(help="What `mainstay backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what Mainstay has there now.")
    ] = False,
    data_dir: DataDir = Path(".mainstay"),
    pg_bin: ProgramsIn = None,
) -> None:
    """Put a backup into a database, in one transaction.

    All services have to be stopped. What Mainstay has in the database is deleted with
    --replace, else nothing is done and the exit status is 2. Other schemas stay as
    they are. Roles that were granted something have to exist.
    """
    if not file.is_file():
        misused(f"{shown(file)} is no file")

    async def work(url: str, progress: Progress) -> None:
        done = await restore_file(
            url, file.absolute(), replace=replace, programs_in=pg_bin, progress=progress
        )
        _print_rows(done.rows)
        typer.echo(f"restored {shown(file)} in {done.seconds:.1f} s; services may start")
        await _tell_what_is_pending(url)

    _run(work, data_dir)


def _run(work: Callable[[str, Progress], Awaitable[None]], data_dir: Path) -> None:
    """Do it on the database that was meant, or say in one line why not and exit."""
    settings, directory = load_settings(SuiteSettings), RunDirectory(data_dir.absolute())

    async def found() -> None:
        async with database(directory, settings) as url:
            with _progress() as progress:
                await work(url, progress)

    try:
        asyncio.run(found())
    except RefusedError as error:
        misused(str(error))
    except (BackupError, EmbeddedServerError, RunDirectoryTakenError) as error:
        fail(str(error))
    except MainstayError as error:
        fail(error.message)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        fail(f"PostgreSQL cannot be used: {str(error) or type(error).__name__}")


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show in a terminal what is being done now, and nowhere else."""
    with Console(stderr=True).status("connecting") as status:
        yield status.update


def _print_rows(rows: Mapping[str, int]) -> None:
    made = table("table", "rows", right=("rows",))
    for name, count in rows.items():
        if count:
            made.add_row(name, f"{count:,}")
    made.add_row(f"{len(rows)} tables", f"{sum(rows.values()):,}")
    console().print(made)


async def _tell_what_is_pending(url: str) -> None:
    for migrations in all_migrations():
        try:
            await migrations.verify(url)
        except ConfigurationError as error:
            typer.echo(f"note: {error.message}")
