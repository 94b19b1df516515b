"""The history of each tenant's invalidations in Redis: its head, its log and its marks."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mainstay.errors import CacheError
from services.cache.channels import INVALIDATED
from services.cache.history import Change, Head, History
from services.cache.keys import tenant_key
from services.cache.log_format import BY_EVENT, EPOCH, change, logged, marked
from services.cache.store_errors import FAILURES, cache_error
from shared.redis.client import Redis, Script
from shared.redis.wire import Argument
from shared.rpc.call import Tenant

MAX_MARKS = 100_000
"""Things of one tenant of which it is known when they were invalidated last."""
LOG_LENGTH = 10_000
"""About how many changes of one tenant can be told again."""
RECORDS_AT_ONCE = 100
MARKS_AT_ONCE = 200
"""What one command reads: it keeps Redis busy for some 100 microseconds."""
MAX_ATTEMPTS = 3

_BEGIN = Script.load("services.cache", "lua/begin.lua")
_INVALIDATE = Script.load("services.cache", "lua/invalidate.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """A change that was recorded, and the history it was recorded in."""

    epoch: str
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of a log: the head, and the changes after a sequence.

    `is_readable` is False where a record cannot be read. Without `is_complete` there are more.
    """

    head: Head | None
    changes: Sequence[Change]
    is_readable: bool = True
    is_complete: bool = True


class RedisLog:
    """Reads and writes histories. All methods raise CacheError when the store is gone.

    `new_epoch` makes a name for a history that begins: hexadecimal digits, never the same twice.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        new_epoch: Callable[[], str],
        max_marks: int = MAX_MARKS,
        log_length: int = LOG_LENGTH,
    ) -> None:
        self._redis = redis
        self._new_epoch = new_epoch
        self._max_marks = max_marks
        self._log_length = log_length

    @property
    def batch(self) -> int:
        """Return a number that stays the same until what was asked by `ask_head` has been sent."""
        return self._redis.batch

    def ask_head(self, tenant: Tenant) -> "asyncio.Future[bytes | None]":
        """Ask for the head; raises and fails with what the Redis client raises."""
        return self._redis.send("GET", tenant_key(tenant, "head"))

    async def begin(self, tenant: Tenant, *, lost: Head | None = None) -> Head:
        """Return the head of a history that can be relied on; begins one where there is none.

        `lost` is the end of a history that the store turned out to have lost: that one is never
        relied on again.
        """
        epoch, used = (lost.epoch, lost.sequence) if lost else ("", 0)
        reply = await self._run(_BEGIN, tenant, [self._new_epoch(), epoch, used])
        head = Head.parse(reply)
        assert head is not None, "the script relies on no other heads and makes none"
        return head

    async def append(
        self,
        tenant: Tenant,
        record: bytes,
        *,
        fields: Sequence[str] = (),
        by_event: bool = False,
        retired: int = 0,
    ) -> Appended:
        """Record a change and mark what it invalidates, or what may no longer be written."""
        mark = BY_EVENT if by_event else b""
        limits = [self._max_marks, self._log_length]
        args: list[Argument] = [INVALIDATED, tenant, *limits, record, mark, retired or "", *fields]
        for _ in range(MAX_ATTEMPTS):
            reply = await self._run(_INVALIDATE, tenant, args)
            if reply is not None:
                return _appended(reply, record)
            await self.begin(tenant)
        raise _unsettled(tenant)

    async def tail(self, tenant: Tenant, after: int) -> Tail:
        """Return the head, and the first changes after a sequence."""
        replies = await self._redis.execute_many(
            [
                ("GET", tenant_key(tenant, "head")),
                ("XRANGE", tenant_key(tenant, "log"), f"({after}-0", "+", "COUNT", RECORDS_AT_ONCE),
            ]
        )
        head, items = (_value(reply) for reply in replies)
        read = [_logged(item) for item in items]
        return Tail(
            head=Head.parse(head),
            changes=[found for found in read if found is not None],
            is_readable=None not in read,
            is_complete=len(items) < RECORDS_AT_ONCE,
        )

    async def load(self, tenant: Tenant) -> History:
        """Return the whole history, as of some moment during this call or before.

        What changes meanwhile may or may not be in it, but then stands in the log after its
        sequence. That the marks were not replaced meanwhile is for the caller to find there.
        """
        for _ in range(MAX_ATTEMPTS):
            head = await self.begin(tenant)
            history = History(epoch=head.epoch, sequence=head.sequence, floor=head.sequence)
            if await self._load_into(tenant, history) == {head.epoch.encode()}:
                return history
        raise _unsettled(tenant)

    async def _load_into(self, tenant: Tenant, history: History) -> set[bytes]:
        """Take in all marks; returns the epochs that they say they are of."""
        cursor, epochs = b"0", set[bytes]()
        while True:
            cursor, flat = await self._execute(
                "HSCAN", tenant_key(tenant, "epochs"), cursor, "COUNT", MARKS_AT_ONCE
            )
            fields = list(zip(flat[::2], flat[1::2], strict=True))
            marked(history, fields)
            epochs.update(value for name, value in fields if name == EPOCH)
            if cursor == b"0":
                return epochs

    async def _run(self, script: Script, tenant: Tenant, args: Sequence[Argument]) -> Any:
        keys = [tenant_key(tenant, part) for part in ("head", "log", "epochs")]
        try:
            return await self._redis.run_script(script, keys, args)
        except FAILURES as error:
            raise cache_error(error) from error

    async def _execute(self, *command: Argument) -> Any:
        try:
            return await self._redis.execute(*command)
        except FAILURES as error:
            raise cache_error(error) from error


def _value(reply: Any) -> Any:
    if isinstance(reply, FAILURES):
        raise cache_error(reply) from reply
    if isinstance(reply, BaseException):
        raise reply
    return reply


def _logged(item: Sequence[Any]) -> Change | None:
    identifier, flat = item
    return logged(identifier, dict(zip(flat[::2], flat[1::2], strict=True)))


def _appended(reply: Sequence[Any], record: bytes) -> Appended:
    epoch, sequence, previous, milliseconds, everything = reply
    recorded = change(
        int(sequence), int(previous), int(milliseconds), record, everything=bool(everything)
    )
    assert recorded is not None, "what was just written can be read"
    return Appended(epoch=epoch.decode(), change=recorded)


def _unsettled(tenant: Tenant) -> CacheError:
    return CacheError(
        f"the history of tenant {tenant} keeps being replaced under our hands; read from the "
        "source and go on, and check who else writes to this Redis",
        metadata={"dependency": "redis", "cause": "HISTORY_UNSETTLED"},
    )
