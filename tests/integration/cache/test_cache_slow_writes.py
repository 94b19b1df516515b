"""Writes that take long between their beginning and the moment in which the entry is there."""

import asyncio

import pytest

from mainstay.cache.client import CacheClient, Miss, MissReason
from services.cache.entry import Entry
from services.cache.keys import EntryName
from services.cache.redis_usage import Usage


class TestAnInvalidationMeanwhile:
    @pytest.mark.parametrize("if_absent", [False, True], ids=["plain", "conditional"])
    async def test_concerns_what_is_being_written(
        self, cache: CacheClient, monkeypatch: pytest.MonkeyPatch, if_absent: bool
    ) -> None:
        """Making room may take seconds: what the writer read at the source is old by then."""
        booked, go_on, admit = asyncio.Event(), asyncio.Event(), Usage.admit

        async def admit_slowly(self: Usage, name: EntryName, entry: Entry) -> None:
            await admit(self, name, entry)
            booked.set()
            await go_on.wait()

        monkeypatch.setattr(Usage, "admit", admit_slowly)
        writing = asyncio.create_task(
            cache.set("video", "k", b"old", tags=["t"], if_absent=if_absent)
        )
        await booked.wait()
        await cache.invalidate_tags(["t"])
        go_on.set()
        await writing

        found = await cache.get("video", "k")

        assert isinstance(found, Miss)
        assert MissReason.INVALIDATED_BY_TAG is found.reason
