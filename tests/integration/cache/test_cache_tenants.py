"""No tenant reaches another's entries, whatever it writes into a namespace or a key."""

import pytest

from mainstay import context
from mainstay.cache.client import CacheClient, Hit, Miss, MissReason

ABSENT = Miss(reason=MissReason.ABSENT)

HOSTILE_KEYS = [
    "k",
    "}",
    "{}",
    "}:lease",
    "{acme:cache:video:k}",
    "}{acme:cache:video:k",
    "acme:cache:video:k",
    ":video:k",
    "%7D",
    "%257D",
    "*",
    "../../acme/video/k",
    "[a-z]?\\",
]


class TestSeparation:
    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    async def test_every_method_stays_within_its_tenant(self, cache: CacheClient, key: str) -> None:
        """Another tenant neither reads nor removes nor overwrites the entry."""
        with context.request(tenant="acme"):
            await cache.set("video", key, b"acme's")
        with context.request(tenant="evil"):
            found = await cache.get("video", key), await cache.get_many("video", [key])
            removed = await cache.delete("video", key)
            await cache.set("video", key, b"evil's")
        with context.request(tenant="acme"):
            kept = await cache.get("video", key)

        assert (ABSENT, {key: ABSENT}, False) == (*found, removed)
        assert isinstance(kept, Hit)
        assert kept.value == b"acme's"

    async def test_hostile_keys_of_one_tenant_are_all_different(self, cache: CacheClient) -> None:
        """No two of them meet, and none leads into another namespace."""
        for key in HOSTILE_KEYS:
            await cache.set("video", key, key.encode())

        found = await cache.get_many("video", HOSTILE_KEYS)
        elsewhere = await cache.get_many("plan", HOSTILE_KEYS)

        assert [key.encode() for key in HOSTILE_KEYS] == [
            result.value for result in found.values() if isinstance(result, Hit)
        ]
        assert {ABSENT} == set(elsewhere.values())
