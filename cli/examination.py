"""Asking connections whether they work, with a bounded wait."""

import asyncio
import time
from dataclasses import dataclass

from cli.connections import LONGEST_WAIT, Connection
from cli.probe import ProbeError
from mainstay.errors import MainstayError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of asking; `problem` is empty when all is well.

    `permanent` tells that asking again will not help.
    """

    connection: Connection
    milliseconds: float
    problem: str = ""
    permanent: bool = False


async def examine(asked: list[Connection]) -> list[Finding]:
    """Ask all at once; the slowest decides how long it takes, at most five seconds."""
    return list(await asyncio.gather(*(_examine(connection) for connection in asked)))


async def _examine(connection: Connection) -> Finding:
    begun = time.perf_counter()
    problem, permanent = "", False
    try:
        async with asyncio.timeout(LONGEST_WAIT):
            await connection.ask()
    except TimeoutError:
        problem = f"no answer within {LONGEST_WAIT:g} s"
    except MainstayError as exc:
        problem, permanent = _short(exc), not exc.transient
    except ProbeError as exc:
        problem, permanent = str(exc), exc.permanent
    return Finding(
        connection=connection,
        milliseconds=(time.perf_counter() - begun) * 1000,
        problem=problem,
        permanent=permanent,
    )


def _short(error: MainstayError) -> str:
    """Leave out what is meant for programs.

    Of what gRPC says of its attempts to connect, the last reason is what counts.
    """
    message = error.message.removesuffix("; retry with backoff")
    return message.rpartition(": ")[2] if isinstance(error, UnavailableError) else message
