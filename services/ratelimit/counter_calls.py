"""What the scripts are told: keys and arguments for the charges of a call."""

from collections.abc import Sequence
from typing import NamedTuple

from services.ratelimit.counter_scripts import ALWAYS, Wordings, alone
from services.ratelimit.keys import counter_key, counter_prefix
from services.ratelimit.ports import Charge
from shared.redis.wire import Argument


class ScriptCall(NamedTuple):
    """One call of a script.

    Attributes:
        keys: Where the counters lie.
        args: Everything but the time.
        parts: Which script it is for (see `counter_scripts`).
        begin: From when the bounds of calendars in it hold, in microseconds since 1970.
        end: Until when, exclusive.

    """

    keys: Sequence[str]
    args: Sequence[Argument]
    parts: int
    begin: int
    end: int


def checks_call(
    wordings: Wordings, checks: Sequence[Sequence[Charge]], *, consume: bool, now: int
) -> ScriptCall:
    """Return the call that decides these checks one after the other."""
    keys: list[str] = []
    args: list[Argument] = [1 if consume else 0]
    parts, begin, end = 0, 0, ALWAYS
    for check in checks:
        args.append(len(check))
        for tenant, rule, position, subject, limit, cost in check:
            keys.append(counter_prefix(tenant, rule.name, position) + subject)
            wording = wordings.of(limit, now)
            parts |= wording.parts
            if wording.begin:
                begin, end = max(begin, wording.begin), min(end, wording.end)
            args += wording.watched if rule.shadow else wording.enforced
            args.append(cost)
    if len(keys) == len(checks) == 1:
        parts = alone(parts)
    return ScriptCall(keys, args, parts, begin, end)


def charges_call(
    wordings: Wordings,
    charges: Sequence[Charge],
    *,
    mark: str,
    options: Sequence[Argument],
    now: int,
) -> ScriptCall:
    """Return the call that charges or gives back: the mark's key comes first if there is one."""
    keys = [mark] if mark else []
    args = [*options]
    parts, begin, end = 0, 0, ALWAYS
    for charge in charges:
        keys.append(key_of(charge))
        wording = wordings.of(charge.limit, now)
        parts |= wording.parts
        if wording.begin:
            begin, end = max(begin, wording.begin), min(end, wording.end)
        args += wording.plain
        args.append(charge.cost)
    return ScriptCall(keys, args, parts, begin, end)


def key_of(charge: Charge) -> str:
    """Return where the counter of a charge lies."""
    return counter_key(
        tenant=charge.tenant,
        rule=charge.rule.name,
        position=charge.position,
        subject=charge.subject,
    )
