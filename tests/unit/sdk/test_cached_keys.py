"""The keys that `@cached` makes of a function's arguments."""

from typing import Any

import pytest

from mainstay.cache import cached, key_of
from mainstay.cache.leased_work import Compute
from mainstay.errors import ConfigurationError


class Absent:
    """Stands where a client would, for functions that are never called."""

    async def get_or_compute(
        self, namespace: str, key: str, compute: Compute, **_: Any
    ) -> bytes | None:
        """Fail: nothing here is to be read."""
        raise AssertionError(f"{namespace}/{key} was read")


NOBODY = Absent()


def test_one_argument_stands_as_it_is() -> None:
    """With one field there is nothing to confuse."""

    @cached(NOBODY, namespace="user", key="{user_id}")
    async def load(user_id: str) -> str:
        return user_id

    assert "a:b%" == key_of(load, "a:b%")


def test_defaults_and_keywords_count() -> None:
    """The key is the same however the arguments are given."""

    @cached(NOBODY, namespace="user", key="{user_id}:{language}")
    async def load(user_id: int, language: str = "en") -> str:
        return language

    keys = {key_of(load, 7), key_of(load, 7, "en"), key_of(load, language="en", user_id=7)}
    assert {"7:en"} == keys


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a:b", "c"), ("a", "b:c")), (("a%3Ab", "c"), ("a:b", "c")), (("a", ":b"), ("a:", "b"))],
)
def test_no_two_calls_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    """What separates the fields is escaped within them."""

    @cached(NOBODY, namespace="user", key="{first}:{second}")
    async def load(first: str, second: str) -> str:
        return first + second

    assert key_of(load, *one) != key_of(load, *other)


def test_attributes_items_and_formats() -> None:
    """Whatever a format string can say of an argument."""

    @cached(NOBODY, namespace="page", key="{page[number]:03d}/{size.real}")
    async def load(page: dict[str, int], size: int) -> str:
        return str(page) + str(size)

    assert "007/10" == key_of(load, {"number": 7}, 10)


def test_a_callable() -> None:
    """It takes the arguments of the call and escapes nothing."""

    @cached(NOBODY, namespace="user", key=lambda first, second: f"{first}:{second}")
    async def load(first: str, second: str) -> str:
        return first + second

    assert "a:b:c" == key_of(load, "a:b", "c")


def test_methods() -> None:
    """`self` is an argument, also of a bound method."""

    class Users:
        region = "eu"

        @cached(NOBODY, namespace="user", key="{self.region}:{user_id}")
        async def load(self, user_id: int) -> str:
            return str(user_id)

    assert "eu:7" == key_of(Users().load, 7)


class TestMistakes:
    def test_an_argument_that_there_is_not(self) -> None:
        """Said when the function is defined, not when it is first called."""
        with pytest.raises(ConfigurationError, match=r"names 'user', no argument of .*load.*name"):

            @cached(NOBODY, namespace="user", key="{user}")
            async def load(name: str) -> str:
                return name

    def test_a_tag_of_an_argument_that_there_is_not(self) -> None:
        """Tags are templates too."""
        with pytest.raises(ConfigurationError, match="names 'team'"):

            @cached(NOBODY, namespace="user", key="{name}", tags=["team:{team}"])
            async def load(name: str) -> str:
                return name

    def test_fields_with_nothing_between(self) -> None:
        """'1' and '23' would be '12' and '3'."""
        with pytest.raises(ConfigurationError, match="nothing between"):

            @cached(NOBODY, namespace="user", key="{first}{second}")
            async def load(first: int, second: int) -> str:
                return str(first + second)

    def test_a_plain_function(self) -> None:
        """It would block everybody while it computes."""

        def load(name: str) -> str:
            return name

        with pytest.raises(ConfigurationError, match="make it async def"):
            cached(NOBODY, namespace="user", key="{name}")(load)  # type: ignore[arg-type]

    def test_the_key_of_a_function_that_is_not_cached(self) -> None:
        """There is none."""

        async def load(name: str) -> str:
            return name

        with pytest.raises(ConfigurationError, match="is not cached"):
            key_of(load, "a")
