"""A database that one role owns, and another one, which owns nothing, to run services as."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from cli.embedded.postgres import APP_ROLE
from cli.migrate import grant_all

_numbers = count(1)


async def granted(owner_url: str) -> str:
    """Give the role its rights in a database that was migrated; returns where it connects."""
    await grant_all(owner_url, APP_ROLE)
    parts = urlsplit(owner_url)
    place = f"{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=f"{APP_ROLE}@{place}"))


@asynccontextmanager
async def app_database(server_url: str, template: str) -> AsyncIterator[tuple[str, str]]:
    """Copy a migrated database for as long as the block; gives the urls of its owner and of us."""
    name = f"test_{os.getpid()}_app_{next(_numbers)}"
    owner_url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    await _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield owner_url, await granted(owner_url)
    await _execute(server_url, f"DROP DATABASE {name}")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
