"""`@cached` on functions and methods, with the real service behind."""

from typing import Any

from mainstay.cache import CacheClient, Hit, MissReason, cached, key_of
from mainstay.cache.results import Miss


class TestCached:
    async def test_a_function_runs_once_for_its_arguments(self, cache: CacheClient) -> None:
        """Its result comes back through JSON; other arguments are another call."""
        calls = []

        @cached(cache, namespace="user", key="{user_id}", tags=["user:{user_id}"])
        async def load(user_id: int, *, name: str = "Ada") -> dict[str, Any]:
            """Load a user."""
            calls.append(user_id)
            return {"id": user_id, "name": name}

        found = [await load(7), await load(7), await load(8, name="Ünal")]

        assert [{"id": 7, "name": "Ada"}] * 2 + [{"id": 8, "name": "Ünal"}] == found
        assert [7, 8] == calls
        assert ("load", "Load a user.") == (load.__name__, load.__doc__)

    async def test_what_is_stored(self, cache: CacheClient) -> None:
        """JSON, with its media type, tags and class, under the key that `key_of` tells."""

        @cached(
            cache,
            namespace="user",
            key="{user_id}:{language}",
            tags=["user:{user_id}", lambda user_id, language: f"in:{language}"],
            ttl_class="brief",
        )
        async def load(user_id: int, language: str) -> list[str]:
            return [language]

        await load(7, "en")
        found = await cache.get("user", key_of(load, 7, "en"))

        assert isinstance(found, Hit)
        assert (b'["en"]', "application/json", "brief") == (
            found.value,
            found.content_type,
            found.ttl_class,
        )
        assert {"user:7", "in:en"} == set(found.tags)

    async def test_an_invalidation(self, cache: CacheClient) -> None:
        """It runs again when one of its tags was invalidated."""
        calls = []

        @cached(cache, namespace="user", key="{user_id}", tags=["user:{user_id}"])
        async def load(user_id: int) -> int:
            calls.append(user_id)
            return len(calls)

        before = await load(7)
        await cache.invalidate_event("user.updated", {"user_id": 7})

        assert (1, 2) == (before, await load(7))

    async def test_none(self, cache: CacheClient) -> None:
        """That there is nothing is remembered as such."""
        calls = []

        @cached(cache, namespace="user", key="{user_id}")
        async def load(user_id: int) -> str | None:
            calls.append(user_id)
            return None

        assert [None, None] == [await load(7) for _ in range(2)]
        assert [7] == calls
        assert Miss(reason=MissReason.NEGATIVE) == await cache.get("user", "7")

    async def test_another_encoding(self, cache: CacheClient) -> None:
        """Whatever turns results into bytes and back."""

        @cached(
            cache,
            namespace="page",
            key="{number}",
            encode=lambda text: str(text).encode("utf-16"),
            decode=lambda data: data.decode("utf-16"),
            content_type="text/plain; charset=utf-16",
        )
        async def page(number: int) -> str:
            return f"page {number}"

        assert ["page 7", "page 7"] == [await page(7) for _ in range(2)]

    async def test_a_method(self, cache: CacheClient) -> None:
        """The client may be an attribute of the object, and so may what goes into the key."""

        class Users:
            def __init__(self, cache: CacheClient, region: str) -> None:
                self.cache = cache
                self.region = region
                self.calls = 0

            @cached(
                lambda self, *_args, **_kwargs: self.cache,
                namespace="user",
                key="{self.region}:{user_id}",
            )
            async def load(self, user_id: int) -> str:
                self.calls += 1
                return f"{user_id} in {self.region}"

        europe, asia = Users(cache, "eu"), Users(cache, "asia")
        found = [await europe.load(7), await europe.load(7), await asia.load(7)]

        assert ["7 in eu", "7 in eu", "7 in asia"] == found
        assert (1, 1) == (europe.calls, asia.calls)
