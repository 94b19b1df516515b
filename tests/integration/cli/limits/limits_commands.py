"""Runs `mainstay limits` in this process, on a policy of a little of all."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from typer.testing import CliRunner, Result

from cli.main import app

SUBJECT, CHAT = "user:42", "/api/chat"
SOMEBODY = f"user:{'x' * 200}"
POLICY = """\
version: 1
plans:
  basic: {features: [chat]}
  pro: {features: [chat, export]}
limits:
  - name: ai_chat
    endpoints: [/api/chat]
    default: 5/min
    plans: {basic: 5/min, pro: 20/min}
  - name: even
    endpoints: [/even]
    algorithm: gcra
    burst: 2
    shadow: true
    default: 60/min
  - name: daily
    endpoints: [/daily]
    algorithm: fixed_window
    time_zone: Europe/Berlin
    default: 9/d 5/36h
  - name: api
    endpoints: ["*"]
    default: unlimited
concurrency:
  - name: places
    endpoints: [/even]
    default: 3
"""
EVEN, DAILY = "/even", "/daily"
PATIENCE = 20.0

Limits = Callable[..., Awaitable[Result]]


async def run(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["limits", *arguments], input=stdin)


async def document(limits: Limits, *arguments: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads((await limits(*arguments, "--json")).stdout)


async def eventually(ask: Callable[[], Awaitable[Any]], enough: Callable[[Any], object]) -> None:
    """Ask until what is recorded in the background is there."""
    async with asyncio.timeout(PATIENCE):
        while not enough(await ask()):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.1)
