"""How one tenant makes a thing, and how another reaches for it: a case for a method."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from tests.integration.tenants.caller import Caller

Answer = Message | Sequence[Message]
REFUSALS = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED})
"""What is another's does not exist, or is forbidden."""
OF_A_TOKEN = frozenset({grpc.StatusCode.FAILED_PRECONDITION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """What its owner has made.

    Attributes:
        name: What whoever reaches for it has to know: a key, a subject, a function.
        secret: What stands in it, and nobody else may come to see.
        id: What the service called it, if it did: an id, a token.
        more: What the case has to remember besides.

    """

    name: str
    secret: str
    id: Any = ""
    more: Any = None


Make = Callable[[Caller, Thing], Awaitable[Thing]]
Reach = Callable[[Caller, Thing], Awaitable[Answer]]
Shows = Callable[[Any, Thing], bool]
State = Callable[[Caller, Thing], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A method, and what must come of it.

    Its owner has to succeed with what another is kept from: a case in which nobody reaches anything
    would prove nothing.

    Attributes:
        make: Makes the thing, as its owner.
        reach: Calls the method about the thing. The same for its owner and for another.
        shows: Whether an answer has something of the thing in it. None where another is refused, or
            where the answer says nothing either way.
        refused: Whether another gets an error, NOT_FOUND or PERMISSION_DENIED.
        refusals: The codes that are such an error here; FAILED_PRECONDITION for a token, which says
            itself what it was given for.
        state: What its owner sees of the thing; unchanged when another has reached for it.
        changes: Whether that is another one when the owner has reached for it.
        owner_refused: What the owner gets where the thing itself stands in his way.
        late: Whether it is counted in the background, and shown some time after.

    """

    make: Make
    reach: Reach
    shows: Shows | None = None
    refused: bool = False
    refusals: frozenset[grpc.StatusCode] = REFUSALS
    state: State | None = None
    changes: bool = False
    owner_refused: grpc.StatusCode | None = None
    late: bool = False

    def __post_init__(self) -> None:
        """Refuse a case that could not fail."""
        if not (self.shows or self.refused or self.changes or self.owner_refused):
            raise ValueError("a case has to tell the owner from another")
        if self.changes and self.state is None:
            raise ValueError("what changes has to be looked at")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForOperators:
    """A method about what all tenants share: whoever is bound to one is refused."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingOfTenants:
    """A method that could not tell tenants apart, since nothing in its answer is theirs."""

    reason: str


Entry = Case | ForOperators | NothingOfTenants


def asks(method: str, request: Callable[[Thing], Message]) -> Reach:
    """Return a reach that is one call."""

    async def reach(caller: Caller, thing: Thing) -> Answer:
        answer: Answer = await caller.ask(method, request(thing))
        return answer

    return reach
