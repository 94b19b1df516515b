"""Redis and PostgreSQL that run elsewhere are waited for before anything is started."""

import asyncio

import pytest
from pydantic import SecretStr

from cli.embedded.redis import RedisServer
from cli.external import wait_for_given_stores
from cli.settings import SuiteSettings
from cli.suite import Started, SuiteError


def settings(*, redis: str | None = None, postgres: str | None = None) -> SuiteSettings:
    """Return settings with these addresses and no other."""
    return SuiteSettings(
        redis_url=SecretStr(redis) if redis else None,
        postgres_url=SecretStr(postgres) if postgres else None,
    )


class TestGivenStores:
    async def test_are_announced_when_they_answer(self, redis_url: str, postgres_url: str) -> None:
        """They stand in the list of parts like those that are started here."""
        announced: list[Started] = []
        said: list[str] = []
        given = settings(redis=redis_url, postgres=postgres_url)
        await wait_for_given_stores(given, announced.append, said.append)

        assert [started.name for started in announced] == ["redis", "postgres"]
        assert said == []

    async def test_are_waited_for(self, private_redis: RedisServer) -> None:
        """One that comes up late is no failure; that it is waited for is said once."""
        await private_redis.stop()
        said: list[str] = []
        waiting = asyncio.Event()

        def say(text: str) -> None:
            said.append(text)
            waiting.set()

        given = settings(redis=private_redis.url)
        wait = asyncio.create_task(wait_for_given_stores(given, lambda _: None, say))
        await asyncio.wait_for(waiting.wait(), 5)
        await private_redis.start()
        await asyncio.wait_for(wait, 15)

        assert said == [f"waiting for Redis at 127.0.0.1:{private_redis.port}, at most 10 s"]

    async def test_that_never_answer_are_given_up(self) -> None:
        """The error names the store, its place, the reason and the setting."""
        said: list[str] = []
        given = settings(redis="redis://:secret@127.0.0.1:1/0")
        with pytest.raises(SuiteError) as caught:
            await wait_for_given_stores(given, lambda _: None, said.append, longest_wait=0.5)

        assert len(said) == 1
        assert "no Redis at 127.0.0.1:1: " in str(caught.value)
        assert "is MAINSTAY_REDIS_URL right?" in str(caught.value)
        assert "secret" not in str(caught.value)

    async def test_that_are_silent_are_given_up(self, private_redis: RedisServer) -> None:
        """A server that takes the connection and says nothing has no more time than any other."""
        private_redis.pause()
        given = settings(redis=private_redis.url)
        wait = wait_for_given_stores(given, lambda _: None, lambda _: None, longest_wait=0.5)

        with pytest.raises(SuiteError, match="MAINSTAY_REDIS_URL"):
            await asyncio.wait_for(wait, 5)

    async def test_that_refuse_for_good_are_not_waited_for(self, postgres_url: str) -> None:
        """A wrong name does not become right by asking again."""
        said: list[str] = []
        given = settings(postgres=f"{postgres_url}_of_nobody")
        wait = wait_for_given_stores(given, lambda _: None, said.append)

        with pytest.raises(SuiteError, match="MAINSTAY_POSTGRES_URL"):
            await asyncio.wait_for(wait, 5)
        assert said == []
