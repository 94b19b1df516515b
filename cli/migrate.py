"""`mainstay migrate`: bring the database's schema up to date."""

import asyncio
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from cli.backup.contents import SCHEMAS
from cli.database import database
from cli.embedded.postgres import APP_ROLE
from cli.embedded.server import EmbeddedServerError
from cli.layout import SERVICES
from cli.run_directory import RunDirectory, RunDirectoryTakenError
from cli.settings import SuiteSettings
from mainstay.errors import MainstayError
from shared.config import load_settings
from shared.identity.postgres_keys import MIGRATIONS as IDENTITY
from shared.postgres.migrations import Migrations
from shared.postgres.rights import FILE, grant_rights

DataDir = Annotated[
    Path, typer.Option(help="Where the embedded PostgreSQL lives when no address is set.")
]
Role = Annotated[
    str | None,
    typer.Option(help="Give this role, which services run as, the rights they need and no others."),
]
FOLDER = "sql/migrations"
FAILED = 1


def migrate(data_dir: DataDir = Path(".mainstay"), role: Role = None) -> None:
    """Apply the pending migrations of all services and say what was applied.

    Works on MAINSTAY_POSTGRES_URL; without it, on the PostgreSQL that `mainstay up` runs or would
    run. Services do the same when they start, unless MAINSTAY_POSTGRES_MIGRATE is off: as with
    --role, for a role that owns nothing and so cannot switch off what keeps tenants apart.
    """
    settings = load_settings(SuiteSettings)
    try:
        asyncio.run(_migrate(RunDirectory(data_dir.absolute()), settings, role))
    except (EmbeddedServerError, RunDirectoryTakenError) as exc:
        typer.echo(f"error: {exc}", err=True)
        raise typer.Exit(FAILED) from None
    except (MainstayError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
        # PostgreSQL's own texts have lines of details.
        reason = " ".join(str(exc).split()) or type(exc).__name__
        typer.echo(f"error: the migrations were not applied: {reason}", err=True)
        raise typer.Exit(FAILED) from None


async def _migrate(directory: RunDirectory, settings: SuiteSettings, role: str | None) -> None:
    if role is None and settings.postgres_url is None:
        role = APP_ROLE  # as `mainstay up` has them run
    async with database(directory, settings) as url:
        for migrations in all_migrations():
            applied = await migrations.apply(url)
            typer.echo(f"{migrations.service:<10} {', '.join(applied) or 'nothing to apply'}")
        if role is not None:
            await _grant(url, role)


async def _grant(url: str, role: str) -> None:
    """Say for itself what went wrong: the migrations were applied."""
    try:
        await grant_all(url, role)
    except MainstayError as exc:
        typer.echo(f"error: the role has not got its rights: {exc}", err=True)
        raise typer.Exit(FAILED) from None
    typer.echo(f"{'rights':<10} of the role {role}: what the services need")


async def grant_all(url: str, role: str) -> None:
    """Give a role what the services need of what the migrations have made."""
    packages = [migrations.package for migrations in all_migrations()]
    await grant_rights(
        url,
        role,
        [package for package in packages if files(package).joinpath(FILE).is_file()],
        schemas=SCHEMAS,
    )


def all_migrations() -> list[Migrations]:
    """Return those of every service that keeps something in PostgreSQL, and those they share."""
    return [
        IDENTITY,
        *(
            Migrations(service=name, package=f"services.{name}", folder=FOLDER)
            for name in SERVICES
            if files(f"services.{name}").joinpath(FOLDER).is_dir()
        ),
    ]
