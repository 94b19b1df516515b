"""What was consumed ahead of its use.

A share of a limit, or the estimate of an AI call, is consumed at once and written down as held. It
leaves that state once: whoever settles it first takes the record away and gives back what was not
used. If nobody does, the record ends by itself and all of it stays consumed.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mainstay.errors import ValidationError
from services.ratelimit.opaque import seal, unseal
from services.ratelimit.ports import Charge
from services.ratelimit.verdict import Verdict

ID_BYTES = 16

Counter = tuple[str, int]
"""The name of a rule, and the position of one of its limits."""

_LAYOUT = struct.Struct(f"<cI{ID_BYTES}s")
_FORMAT = b"R"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was consumed for a subject and waits to be settled.

    Attributes:
        subject: For whom.
        plan: The plan that the call named; empty where the assigned one was meant.
        consumed_at: When, in microseconds since 1970 by the store's clock.
        amounts: How much on each counter, 1 or more.

    """

    subject: str
    plan: str
    consumed_at: int
    amounts: Mapping[Counter, int]

    def amount(self, charge: Charge) -> int:
        """Return what is held on the counter of a charge."""
        if charge.subject != self.subject:
            return 0
        return self.amounts.get((charge.rule.name, charge.position), 0)


def held(
    charges: Sequence[Charge], verdicts: Sequence[Verdict], *, subject: str, plan: str
) -> Held:
    """Return what the charges of one subject consumed when they were admitted together.

    A rule in shadow consumed nothing where it would have denied.
    """
    return Held(
        subject=subject,
        plan=plan,
        consumed_at=verdicts[0].now,
        amounts={
            (charge.rule.name, charge.position): charge.cost
            for charge, verdict in zip(charges, verdicts, strict=True)
            if verdict.admits
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of a limit, as its holder gets it.

    Attributes:
        token: Names it when the rest is given back.
        amount: How much it is.
        expires_at: Until when it may be spent, in microseconds since 1970 by the store's clock.
        ttl: How long that is from now, in microseconds.

    """

    token: str
    amount: int
    expires_at: int
    ttl: int


def share_token(reservation: str, amount: int) -> str:
    """Return the token of a share; `reservation` is what `Reservations.hold` returned."""
    return seal(_LAYOUT.pack(_FORMAT, amount, bytes.fromhex(reservation)))


def read_share_token(token: str) -> tuple[str, int]:
    """Return the reservation and the amount that a token names.

    Raises ValidationError for a text that is no such token.
    """
    content = unseal(token)
    if content is None or len(content) != _LAYOUT.size or not content.startswith(_FORMAT):
        mistake = "is none that ReserveTokens answered; give its token as it came"
        raise ValidationError(f"token {mistake}", fields={"token": mistake})
    _, amount, reservation = _LAYOUT.unpack(content)
    return reservation.hex(), amount


def reservation_fault(reservation: str) -> str | None:
    """Return what is wrong with a text that should name a reservation, or None."""
    if len(reservation) == 2 * ID_BYTES and set(reservation) <= set("0123456789abcdef"):
        return None
    return "is none that was answered; give the reservation as it came"
