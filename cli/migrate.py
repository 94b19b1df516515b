"""`mainstay migrate`: bring the database's schema up to date."""

import asyncio
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from cli.database import database
from cli.embedded.server import EmbeddedServerError
from cli.layout import SERVICES
from cli.run_directory import RunDirectory, RunDirectoryTakenError
from cli.settings import SuiteSettings
from mainstay.errors import MainstayError
from shared.config import load_settings
from shared.postgres.migrations import Migrations

DataDir = Annotated[
    Path, typer.Option(help="Where the embedded PostgreSQL lives when no address is set.")
]
FOLDER = "sql/migrations"
FAILED = 1


def migrate(data_dir: DataDir = Path(".mainstay")) -> None:
    """Apply the pending migrations of all services and say what was applied.

    Works on MAINSTAY_POSTGRES_URL; without it, on the PostgreSQL that `mainstay up` runs or would
    run. Services do the same when they start, unless MAINSTAY_POSTGRES_MIGRATE is off.
    """
    settings = load_settings(SuiteSettings)
    try:
        asyncio.run(_migrate(RunDirectory(data_dir.absolute()), settings))
    except (EmbeddedServerError, RunDirectoryTakenError) as exc:
        typer.echo(f"error: {exc}", err=True)
        raise typer.Exit(FAILED) from None
    except (MainstayError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
        # PostgreSQL's own texts have lines of details.
        reason = " ".join(str(exc).split()) or type(exc).__name__
        typer.echo(f"error: the migrations were not applied: {reason}", err=True)
        raise typer.Exit(FAILED) from None


async def _migrate(directory: RunDirectory, settings: SuiteSettings) -> None:
    async with database(directory, settings) as url:
        for migrations in all_migrations():
            applied = await migrations.apply(url)
            typer.echo(f"{migrations.service:<10} {', '.join(applied) or 'nothing to apply'}")


def all_migrations() -> list[Migrations]:
    """Return those of every service that keeps something in PostgreSQL."""
    return [
        Migrations(service=name, package=f"services.{name}", folder=FOLDER)
        for name in SERVICES
        if files(f"services.{name}").joinpath(FOLDER).is_dir()
    ]
