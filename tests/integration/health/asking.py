"""Asks a probe as the prober does."""

import asyncio

import pytest

from services.health.ports import Probe, ProbeError


async def answer(probe: Probe, request_id: str = "request-1") -> str:
    """Return what a probe says needs care about a target that answers well; empty is fine."""
    return await asyncio.wait_for(probe.ask(request_id), 10)


async def complaint(probe: Probe, request_id: str = "request-1") -> str:
    """Return what a probe has to say about a target that does not answer well."""
    with pytest.raises(ProbeError) as caught:
        await answer(probe, request_id)
    return caught.value.message
