"""Policies that are refused: one that was found and is not in force, and one in a file."""

from collections.abc import Awaitable
from typing import TypeVar

import typer

from mainstay.errors import MainstayError
from mainstay.ratelimit import RateLimitClient
from services.ratelimit.policy_file import read_policy
from shared.policy_file import MAX_MISTAKES

T = TypeVar("T")


async def with_problem(client: RateLimitClient, answer: Awaitable[T]) -> tuple[T, str]:
    """Return an answer, and what is wrong with a newer policy than the one it is about."""
    found = await answer
    try:
        return found, (await client.get_policy()).problem
    except MainstayError:  # what was asked for is known all the same
        return found, ""


def tell_problem(problem: str) -> None:
    """Say on stderr that a newer text was refused, if one was."""
    if problem:
        said, *found = (" ".join(line.split()) for line in problem.splitlines())
        typer.echo(f"a newer text was refused: {said} {'; '.join(found)}".rstrip(), err=True)


def mistakes(policy: str) -> list[str]:
    """Return what is wrong with the text of a policy, a line each, without asking a service."""
    read = read_policy(policy)
    if not isinstance(read, tuple):
        return []
    more = len(read) - MAX_MISTAKES
    return [*map(str, read[:MAX_MISTAKES]), *([f"and {more:,} more"] if more > 0 else [])]
