"""Runs `mainstay jobs` in this process, as the tenant of the contract's workers."""

import asyncio
import json
import re
from typing import Any

from typer.testing import CliRunner, Result

from cli.main import app

_LOGGED = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[(debug|info|warning|error) *\] ")


async def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run the command in a thread: it has an event loop of its own.

    The service, which runs in this process too, may log meanwhile: that is not what was printed.
    """
    result = await asyncio.to_thread(
        CliRunner().invoke, app, ["jobs", *arguments, "--tenant", "acme"], input=stdin
    )
    printed = result.stdout_bytes.splitlines(keepends=True)
    result.stdout_bytes = b"".join(line for line in printed if not _LOGGED.match(line))
    return result


async def document(*arguments: str, stdin: str | None = None) -> Any:
    """Return what a command prints as JSON."""
    return json.loads((await run(*arguments, "--json", stdin=stdin)).stdout)


def said(result: Result) -> tuple[int, str]:
    """Return the exit status and what was printed."""
    return result.exit_code, result.stdout


def refused(result: Result) -> tuple[int, str]:
    """Return the exit status and the error, which is a line."""
    lines = result.stderr.splitlines()
    return result.exit_code, lines[0] if len(lines) == 1 else result.stderr
