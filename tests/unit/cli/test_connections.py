"""What is shown of the addresses of stores."""

import pytest

from cli.connections import given_stores
from cli.examination import examine
from cli.settings import SuiteSettings


class TestUrlsWithAPassword:
    @pytest.mark.parametrize(
        "url",
        [
            "redis://user:4711/et@127.0.0.1:6379/0",
            "redis://user:4711#et@127.0.0.1:6379/0",
        ],
    )
    async def test_that_make_no_sense_are_shown_in_no_part(self, url: str) -> None:
        """Any part may be one of the password; the hint says how to write it."""
        (store,) = given_stores(SuiteSettings(redis_url=url, postgres_url=None))
        (finding,) = await examine([store])

        assert (store.address, finding.problem, finding.permanent) == ("-", "not a URL", True)
        assert "MAINSTAY_REDIS_URL with %-escapes" in store.hint

    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("redis://:s3cr%2Fet@127.0.0.1:6379/0", "127.0.0.1:6379"),
            ("redis://user:secret@cache.internal/0", "cache.internal"),
            ("unix:///run/redis.sock", "/run/redis.sock"),
            ("redis://:secret@a:1,redis://:secret@b:2/0", "a:1,b:2"),
        ],
    )
    def test_that_do_show_host_and_port(self, url: str, address: str) -> None:
        """What is not secret helps to find the mistake."""
        (store,) = given_stores(SuiteSettings(redis_url=url, postgres_url=None))

        assert address == store.address
