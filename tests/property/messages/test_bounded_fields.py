"""Every field of every request has a bound: what is beyond it is refused by name, and at once.

Made from the descriptors: a field that is added without a bound fails here, and a method without
an exemplar too.
"""

import re

import grpc
import pytest

from tests.property.messages.conftest import Answered, Server, opening, patience_with
from tests.property.messages.contract import FILES, Contract, methods
from tests.property.messages.exceptions import ANSWERED, SLOWEST, UNNAMED
from tests.property.messages.exemplars import EXEMPLARS
from tests.property.messages.extremes import Extreme, exemplars, extremes

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
]

REFUSED = grpc.StatusCode.INVALID_ARGUMENT
OPAQUE = {"token", "lease_token"}
"""What is good only if the service has made it."""

NEVER = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}


def problem(extreme: Extreme, answered: Answered, contract: Contract) -> str | None:
    """Say what is wrong with an answer."""
    where = f"{contract.name} {extreme.field}, {extreme.what}: "
    if answered.code in NEVER:
        return f"{where}{answered}"
    if answered.seconds > SLOWEST:
        return f"{where}took {answered.seconds:.2f} s, {answered}"
    if not extreme.large or (contract.name, extreme.field) in ANSWERED:
        return None
    if answered.code != REFUSED:
        return f"{where}{answered}"
    if (contract.name, extreme.field) not in UNNAMED and not _names(answered, extreme.field):
        return f"{where}names {[*answered.fields]}, {answered}"
    return None


def _names(answered: Answered, field: str) -> bool:
    last = field.rpartition(".")[2]
    named = [re.sub(r"\[\d+\]", "", each) for each in answered.fields]
    return any(last in each.split(".") for each in named)


class TestEveryField:
    async def test_is_bounded(self, server: Server) -> None:
        """INVALID_ARGUMENT that names it, or an exception with a reason; never slow or INTERNAL."""
        problems = []
        for contract in methods(server.name):
            for extreme in extremes(contract):
                answered = await server.send(
                    contract,
                    *opening(contract, extreme.request),
                    extreme.request,
                    patience=patience_with(contract),
                )
                if (found := problem(extreme, answered, contract)) is not None:
                    problems.append(found)
        healthy = await server.is_healthy()

        assert problems == []
        assert healthy
        assert server.complaints() == []


class TestExemplars:
    async def test_every_method_has_one(self) -> None:
        """A method that is added without one is not tested, and so fails the build."""
        known = {contract.name for server in FILES for contract in methods(server)}

        assert known == {*EXEMPLARS}

    async def test_is_good(self, server: Server) -> None:
        """None is refused for what is in it: otherwise what is around a field hides the field."""
        refused = []
        for contract in methods(server.name):
            for exemplar in exemplars(contract):
                answered = await server.send(
                    contract,
                    *opening(contract, exemplar),
                    exemplar,
                    patience=patience_with(contract),
                )
                if answered.code == REFUSED and not OPAQUE & {*answered.fields}:
                    refused.append(f"{contract.name}: {answered}, {answered.fields}")

        assert refused == []


class TestExceptions:
    async def test_are_about_fields_that_exist(self) -> None:
        """An exception goes when its field goes."""
        fields = {
            (contract.name, extreme.field)
            for server in FILES
            for contract in methods(server)
            for extreme in extremes(contract)
        }

        assert set() == {*ANSWERED, *UNNAMED} - fields
