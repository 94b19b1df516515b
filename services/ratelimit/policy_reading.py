"""Reads policies that callers wrote: in a thread, because a megabyte of YAML takes many seconds.

One is read at a time. Several at once would take what the checks need, and the threads that
everybody in this process shares.
"""

import asyncio
from collections.abc import Callable

from mainstay.errors import ValidationError
from services.ratelimit.checks import refuse
from services.ratelimit.policy import Policy
from services.ratelimit.policy_file import MAX_TEXT_BYTES, Mistakes, read_policy
from services.ratelimit.turns import MAX_WAITING, Turns

# Errors travel in headers, which are short.
_MAX_MISTAKES = 20
_MAX_MISTAKE_CHARACTERS = 200


class PolicyReading:
    """Makes policies of texts; `read` is what does so in the thread."""

    def __init__(
        self,
        *,
        max_waiting: int = MAX_WAITING,
        read: Callable[[str], Policy | Mistakes] = read_policy,
    ) -> None:
        self._read = read
        self._turns = Turns("a policy to be read", max_waiting=max_waiting)

    async def read(self, text: str) -> Policy:
        """Return the policy that a text is.

        Raises ValidationError (`POLICY_REFUSED`) for one with mistakes, and UnavailableError
        (`OVERLOADED`) while too many wait.
        """
        refuse({"text": policy_text_fault(text)})
        await self._turns.take()
        reading = asyncio.get_running_loop().run_in_executor(None, self._read, text)
        # The turn ends with the thread, which no caller who leaves can stop.
        reading.add_done_callback(lambda _: self._turns.give_back())
        policy = await asyncio.shield(reading)
        if isinstance(policy, Policy):
            return policy
        raise _refused(policy)


def policy_text_fault(text: str) -> str | None:
    """Return what is wrong with a text before anybody reads it."""
    size = len(text.encode())
    if 1 <= size <= MAX_TEXT_BYTES and "\0" not in text:
        return None
    return f"has {size:,} bytes, or a NUL among them; give 1 to {MAX_TEXT_BYTES:,} bytes of YAML"


def _refused(mistakes: Mistakes) -> ValidationError:
    fields: dict[str, str] = {}
    for mistake in mistakes[:_MAX_MISTAKES]:
        said = f"line {mistake.line}: {mistake.what}"[:_MAX_MISTAKE_CHARACTERS]
        field = mistake.field[:_MAX_MISTAKE_CHARACTERS] or "text"
        fields[field] = f"{fields[field]}; {said}" if field in fields else said
    more = len(mistakes) - _MAX_MISTAKES
    sentence = "\n  ".join(
        ["the policy is refused:", *(f"{field} {what}" for field, what in fields.items())]
    )
    return ValidationError(
        f"{sentence}\n  and {more:,} more mistakes" if more > 0 else sentence,
        fields=fields,
        reason="POLICY_REFUSED",
    )
