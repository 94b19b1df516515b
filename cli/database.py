"""The database that a command works on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.embedded.stores import embedded_postgres
from cli.run_directory import RunDirectory
from shared.process_settings import ProcessSettings


@asynccontextmanager
async def database(directory: RunDirectory, settings: ProcessSettings) -> AsyncIterator[str]:
    """Find the database, or start the embedded one for as long as it takes."""
    if settings.postgres_url is not None:
        yield settings.postgres_url.get_secret_value()
    elif running := directory.read_addresses().get("MAINSTAY_POSTGRES_URL"):
        yield running
    else:
        directory.take()
        try:
            async with embedded_postgres(directory) as server:
                yield server.url
        finally:
            directory.release()
