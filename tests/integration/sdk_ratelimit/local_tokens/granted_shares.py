"""Shares as the scripted service grants them and gets them back."""

import asyncio
from collections.abc import Callable
from typing import Any

from mainstay.ratelimit import LocalTokens
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from tests.integration.sdk_ratelimit.scripted_limits import PATIENCE, ScriptedLimits, share

SUBJECT, ENDPOINT = "user:42", "/api/events"
RESERVE = "ReserveTokens"


def granting(peer: ScriptedLimits, *, seconds: float = 60.0) -> None:
    """Give everybody what they ask for, as shares that are numbered."""

    async def grant(asked: Any) -> pb.ReserveTokensResponse:
        number = len(peer.requests[RESERVE])
        return share(asked.amount, f"share-{number}", seconds)

    peer.on(RESERVE, grant)


async def spend_until(tokens: LocalTokens, reached: Callable[[], bool]) -> None:
    """Spend one by one until something has happened."""
    async with asyncio.timeout(PATIENCE):
        while not reached():
            await tokens.spend()
            await asyncio.sleep(0.001)


def returned(peer: ScriptedLimits) -> dict[str, int]:
    return {each.token: each.unused for each in peer.requests["ReturnTokens"]}
