"""Every field of every request has a bound: what is beyond it is refused by name, and at once.

Made from the descriptors: a field that is added without a bound fails here, and a method without
an exemplar too.
"""

import re
from importlib import import_module
from pkgutil import iter_modules

import grpc
import pytest
from google.protobuf import json_format

from shared.rpc.policy import MethodPolicy
from tests.property.messages.conftest import Answered, Server, opening, patience_with
from tests.property.messages.contract import FILES, Contract, dotted, methods, paths
from tests.property.messages.exceptions import ANSWERED, SLOWEST, UNNAMED
from tests.property.messages.exemplars import EXEMPLARS
from tests.property.messages.extremes import Extreme, exemplars, extremes
from tests.property.messages.large import LARGE

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
]

REFUSED = grpc.StatusCode.INVALID_ARGUMENT
SERVED = {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
OPAQUE = {"token", "lease_token"}
"""What is good only if the service has made it."""

TRIES = 3
"""A busy machine is slow at times; what is too slow is so each time."""

TOO_LATE = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
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


def policies_of(server: str) -> dict[str, MethodPolicy]:
    """Return the policies of all methods of a service."""
    package = import_module(f"services.{server}")
    found: dict[str, MethodPolicy] = {}
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        if module.name.rpartition(".")[2].startswith("serv"):
            found |= getattr(import_module(module.name), "METHODS", {})
    return found


async def judged(server: Server, extreme: Extreme, contract: Contract) -> str | None:
    """Ask, again where it took too long, and say what is wrong with the answer."""
    found = None
    for _ in range(TRIES):
        answered = await server.send(
            contract,
            *opening(contract, extreme.request),
            extreme.request,
            patience=patience_with(contract),
        )
        found = problem(extreme, answered, contract)
        if found is None or not (answered.seconds > SLOWEST or answered.code in TOO_LATE):
            break
    return found


class TestEveryField:
    async def test_is_bounded(self, server: Server) -> None:
        """INVALID_ARGUMENT that names it, or an exception with a reason; never slow or INTERNAL."""
        problems = [
            found
            for contract in methods(server.name)
            for extreme in extremes(contract)
            if (found := await judged(server, extreme, contract)) is not None
        ]
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
            (contract.name, dotted(path))
            for server in FILES
            for contract in methods(server)
            for path in paths(contract)
        }

        assert set() == {*ANSWERED, *UNNAMED} - fields


class TestRoomyFields:
    async def test_are_about_fields_that_exist(self) -> None:
        """A policy that names another one would have the field refused that was meant."""
        wrong, checked = [], 0
        for server in FILES:
            policies = policies_of(server)
            for contract in methods(server):
                roomy = policies[contract.descriptor.name].roomy
                wrong += [
                    f"{contract.name} {field}"
                    for field in roomy - {dotted(path) for path in paths(contract)}
                ]
                checked += len(roomy)

        assert [] == wrong
        assert checked > 20


class TestWhatMayBeLarge:
    async def test_is_not_refused(self, server: Server) -> None:
        """As much as the contract says that a field may hold, and many of them in one message."""
        refused = []
        for contract in methods(server.name):
            for large in LARGE.get(contract.name, []):
                request = json_format.ParseDict(dict(large), contract.request())
                before = opening(contract, request)
                answered = await server.send(contract, *before, request)
                if answered.code not in SERVED:
                    refused.append(f"{contract.name}: {answered}")

        assert refused == []

    async def test_is_about_methods_that_exist(self) -> None:
        """A large request goes when its method goes."""
        known = {contract.name for server in FILES for contract in methods(server)}

        assert set() == LARGE.keys() - known
