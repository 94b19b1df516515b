"""How grpcio is told to listen, before it is imported."""

import asyncio
import os
import sys

import pytest

BARELY = "services, grpc"


async def imported(modules: str, experiments: str | None) -> tuple[str, str]:
    """Import modules; returns what was set by then, and what grpcio said to it."""
    inherited = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    environment = (
        inherited if experiments is None else inherited | {"GRPC_EXPERIMENTS": experiments}
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import {modules}, os; print(os.environ['GRPC_EXPERIMENTS'])",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, errors = await process.communicate()
    return out.decode().strip(), errors.decode()


class TestAService:
    async def test_says_what_this_grpcio_knows(self) -> None:
        """A release that has dropped it would complain at every start."""
        assert await imported("services.cache.__main__", None) == ("-event_engine_listener", "")

    @pytest.mark.parametrize("theirs", ["", "event_engine_listener"])
    async def test_leaves_the_last_word_to_its_operator(self, theirs: str) -> None:
        """What is in the environment stays."""
        assert await imported(BARELY, theirs) == (theirs, "")

    async def test_would_hear_the_complaint(self) -> None:
        """So that the first test can fail."""
        _, errors = await imported(BARELY, "-never_heard_of_it")

        assert "Unknown experiment" in errors
