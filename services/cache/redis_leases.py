"""Leases in Redis: one short string each, beside the entry and in its slot."""

import asyncio
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mainstay.errors import UnavailableError
from services.cache.channels import WAKE
from services.cache.entry import Entry, Outcome
from services.cache.frame import VERSION, decode_header
from services.cache.keys import EntryName, entry_key, lease_key
from services.cache.lease import (
    Changed,
    Gone,
    Grant,
    Granted,
    Held,
    Keeping,
    Kept,
    Lost,
    Throttled,
)
from services.cache.store_errors import FAILURES, cache_error
from shared.redis.client import Redis, Script

_LEASE = Script.load("services.cache", "lua/lease.lua")
_EXTEND = Script.load("services.cache", "lua/extend.lua")
_ABANDON = Script.load("services.cache", "lua/abandon.lua")
_KEEP = Script.load("services.cache", "lua/keep.lua")
# Create time, soft expiry, expiry, stamp and computation time: bytes 12 to 47 of a frame.
_RENEWED = struct.Struct("<QQQQI")
_WHATEVER = b"*"


class RedisLeases:
    """The `Leases` of production and of the tests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def ask(
        self, name: EntryName, token: bytes, lease_ms: int, *, judged: Outcome | None, waits: bool
    ) -> Grant:
        keys = _keys(name)
        try:
            reply = await self._run(_LEASE, keys, (token, lease_ms, _version(judged), int(waits)))
        except asyncio.CancelledError:
            self._take_back(keys, token)
            raise
        return _grant(reply)

    async def extend(self, name: EntryName, token: bytes, lease_ms: int) -> bool:
        return bool(await self._run(_EXTEND, _keys(name)[1:], (token, lease_ms)))

    async def abandon(
        self, name: EntryName, token: bytes, *, error: str = "", throttle_ms: int = 0
    ) -> bool:
        return bool(await self._run(_ABANDON, _keys(name), (token, error, throttle_ms, WAKE)))

    async def holds(self, name: EntryName, token: bytes) -> bool:
        try:
            held = await self._redis.execute("GET", _keys(name)[1])
        except FAILURES as error:
            raise cache_error(error) from error
        return held is not None and held.startswith(token)

    async def keep(
        self, name: EntryName, token: bytes, entry: Entry, ttl_ms: int | None
    ) -> Keeping:
        renewed = _RENEWED.pack(
            entry.create_ms,
            entry.soft_expiry_ms or 0,
            entry.expiry_ms or 0,
            entry.stamp,
            entry.compute_ms,
        )
        version = VERSION.pack(entry.version)
        ttl = b"" if ttl_ms is None else ttl_ms
        state, start = await self._run(_KEEP, _keys(name), (token, version, renewed, ttl, WAKE))
        match state, decode_header(start):
            case 0, before if before is not None:
                return Kept(before=before)
            case 1, _:
                return Lost()
            case _:
                return Gone()

    def _take_back(self, keys: Sequence[bytes], token: bytes) -> None:
        """Give back what a caller who has gone away may have been granted.

        Commands for one key keep their order, so this one runs after the one that asked.
        """
        with suppress(UnavailableError):
            # As text: of a Redis that does not know the script nobody would hear so.
            given_back = self._redis.send(
                "EVAL", _ABANDON.text, len(keys), *keys, token, b"", 0, WAKE
            )
            # Nobody is left to be told; what stays behind ends by itself.
            given_back.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[str | bytes | int]
    ) -> Any:
        try:
            return await self._redis.run_script(script, keys, args)
        except FAILURES as error:
            raise cache_error(error) from error


def _keys(name: EntryName) -> tuple[bytes, bytes]:
    where = entry_key(*name)
    return where, lease_key(where)


def _version(judged: Outcome | None) -> bytes:
    if judged is None:
        return _WHATEVER
    version = judged.version if isinstance(judged, Entry) else judged.dead_version
    return b"" if version is None else VERSION.pack(version)


def _grant(reply: Sequence[Any]) -> Grant:
    match reply:
        case [0]:
            return Granted()
        case [1, left]:
            return Held(left_ms=left)
        case [2, left, error]:
            return Throttled(error=error.decode("utf-8", "replace"), left_ms=left)
        case _:
            return Changed()
