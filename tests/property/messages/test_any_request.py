"""Whatever a request says, it is answered with a code that the contract documents.

Hypothesis makes requests from the descriptors; MAINSTAY_MESSAGE_EXAMPLES is how many for each
method.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings

from tests.property.messages.conftest import Answered, Server, opening, patience_with
from tests.property.messages.contract import Contract, methods
from tests.property.messages.exceptions import PATIENT
from tests.property.messages.strategies import requests

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]

EXAMPLES = int(os.environ.get("MAINSTAY_MESSAGE_EXAMPLES", "30"))
PATIENCE = 30.0
Code = grpc.StatusCode
DOCUMENTED = {
    Code.OK,
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.ALREADY_EXISTS,
    Code.PERMISSION_DENIED,
    Code.FAILED_PRECONDITION,
    Code.ABORTED,
    Code.RESOURCE_EXHAUSTED,
}
PASSING = {Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE}

Ask = Callable[[Message], Coroutine[Any, Any, Answered]]


def hold_for_all(contract: Contract, ask: Ask, loop: asyncio.AbstractEventLoop) -> None:
    """Have Hypothesis look for a request that is answered with another code; runs in a thread."""
    documented = DOCUMENTED | ({Code.DEADLINE_EXCEEDED} if contract.name in PATIENT else set())

    @settings(
        max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None, deadline=None
    )
    @given(requests(contract))
    def is_documented(request: Message) -> None:
        answered = asyncio.run_coroutine_threadsafe(ask(request), loop).result(PATIENCE)
        assert answered.code in documented, f"{contract.name}: {answered}\n{request}"

    is_documented()


class TestAnyRequest:
    async def test_is_answered_as_documented(self, server: Server) -> None:
        """No INTERNAL, no UNKNOWN, nothing that hangs, and nothing unexpected in the log."""
        for contract in methods(server.name):

            async def ask(request: Message, contract: Contract = contract) -> Answered:
                before = opening(contract, request)
                patience = patience_with(contract)
                answered = await server.send(contract, *before, request, patience=patience)
                if answered.code in PASSING:  # what a busy machine does once is no answer to it
                    return await server.send(contract, *before, request, patience=patience)
                return answered

            await asyncio.to_thread(hold_for_all, contract, ask, asyncio.get_running_loop())
        healthy = await server.is_healthy()

        assert healthy
        assert server.complaints() == []
