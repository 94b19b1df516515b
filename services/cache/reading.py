"""Reads entries in one round trip and judges them by all that was invalidated before.

The entry and the head of its tenant's history are asked for in one write. Nobody has to trust that
a feed is up to date: an invalidation that was acknowledged before a read began is in the head that
the read gets.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from services.cache.entry import COLD, UNREADABLE, Kind, Miss, Outcome
from services.cache.frame import decode
from services.cache.histories import RedisHistories
from services.cache.history import History
from services.cache.keys import EntryName, entry_key
from services.cache.ports import NowMs
from services.cache.recollection import Recollection
from services.cache.store_errors import FAILURES, cache_error
from shared.redis.client import Redis
from shared.redis.link import RedisReplyError
from shared.rpc.call import Tenant

Reply = bytes | BaseException | None


class RedisReader:
    """The `Reader` of production and of the tests."""

    def __init__(
        self, redis: Redis, histories: RedisHistories, recollection: Recollection, now_ms: NowMs
    ) -> None:
        self._redis = redis
        self._histories = histories
        self._recollection = recollection
        self._now_ms = now_ms

    async def read(self, name: EntryName) -> Outcome:
        where = entry_key(*name)
        tenant = Tenant(name.tenant)
        try:
            found = self._redis.send("GET", where)
            head = self._histories.ask(tenant)
            try:
                reply: Reply = await found
            except RedisReplyError as error:
                reply = error
            except BaseException:
                _retrieve(head)
                raise
            # As a rule it came with the same packet.
            known = head.result() if head.done() else await asyncio.shield(head)
        except FAILURES as error:
            raise cache_error(error) from error
        history = self._histories.known(tenant, known)
        if history is None:
            history = await self._histories.catch_up(tenant, known)
        outcome = self._judge(name, where, reply, history)
        if isinstance(outcome, _Newer):
            history = await self._histories.current(tenant)
            outcome = self._judge(name, where, reply, history)
        return outcome.miss if isinstance(outcome, _Newer) else outcome

    async def read_many(self, names: Sequence[EntryName]) -> Sequence[Outcome]:
        if not names:
            return []
        tenant = Tenant(names[0].tenant)
        keys = [entry_key(*name) for name in names]
        try:
            head = self._histories.ask(tenant)
            try:
                replies = await self._redis.get_many(keys)
            except BaseException:
                _retrieve(head)
                raise
            known = head.result() if head.done() else await asyncio.shield(head)
        except FAILURES as error:
            raise cache_error(error) from error
        history = self._histories.known(tenant, known)
        if history is None:
            history = await self._histories.catch_up(tenant, known)
        outcomes = [*map(self._judge, names, keys, replies, [history] * len(names))]
        if any(isinstance(outcome, _Newer) for outcome in outcomes):
            history = await self._histories.current(tenant)
            outcomes = [*map(self._judge, names, keys, replies, [history] * len(names))]
        return [o.miss if isinstance(o, _Newer) else o for o in outcomes]

    def _judge(
        self, name: EntryName, where: bytes, reply: Reply, history: History
    ) -> "Outcome | _Newer":
        if reply is None:
            return Miss(reason=self._recollection.why_missing(where, self._now_ms()))
        if not isinstance(reply, bytes):
            return _unreadable(reply)
        entry = decode(reply)
        if entry is None:
            return UNREADABLE
        if entry.kind is Kind.TOMBSTONE:
            self._recollection.forget(where)  # when it ends there is nothing to be missed any more
            return Miss(reason=entry.last_miss or COLD.reason, dead_version=entry.version)
        reason = history.verdict(name.namespace, name.key, entry.tags, entry.stamp)
        if reason is not None:
            miss = Miss(reason=reason, dead_version=entry.version)
            return _Newer(miss) if entry.stamp > history.sequence else miss
        self._recollection.note(where, entry.expiry_ms)
        return entry


class _Newer:
    """An entry that knows of later invalidations than the history it was judged by.

    It was written between the two answers, or its history was lost in a failover: asking again
    tells which.
    """

    def __init__(self, miss: Miss) -> None:
        self.miss = miss


def _unreadable(reply: Any) -> Miss:
    if isinstance(reply, RedisReplyError) and str(reply).startswith("WRONGTYPE"):
        return UNREADABLE
    if isinstance(reply, FAILURES):
        raise cache_error(reply) from reply
    raise reply


def _retrieve(head: "asyncio.Future[Any]") -> None:
    """See to it that nobody is told of a failure which the other half of the read reports."""
    head.add_done_callback(lambda done: done.cancelled() or done.exception())
