"""Which slot a command belongs to, and what nodes say of each other."""

import pytest

from shared.redis.errors import RedirectError, RedisReplyError, error_of
from shared.redis.seeds import seed_urls
from shared.redis.slots import SLOTS, Redirect, Topology, slot_of
from shared.redis.wire import Argument

OF_FOO = 12182  # the specification of Redis Cluster gives this as an example of CRC16


class TestSlots:
    @pytest.mark.parametrize(
        "command",
        [
            ("GET", "foo"),
            ("get", b"foo"),
            (b"GET", "foo"),
            ("SET", "{foo}bar", "x"),
            ("EVALSHA", "0" * 40, 1, "foo", "bar"),
            ("EVAL", "return 1", "2", "foo", "{foo}bar"),
            ("FCALL", "name", 1, "foo"),
            ("OBJECT", "ENCODING", "foo"),
            ("ZUNION", 2, "foo", "{foo}bar"),
        ],
        ids=lambda command: " ".join(map(str, command)),
    )
    def test_of_the_first_key(self, command: tuple[Argument, ...]) -> None:
        """Wherever that stands; of a key with braces the part in the first pair counts."""
        assert slot_of(command) == OF_FOO

    @pytest.mark.parametrize("key", ["foo{", "foo{}", "foo{}{foo}"])
    def test_of_braces_with_nothing_in_them(self, key: str) -> None:
        """Then the whole key counts."""
        slot = slot_of(("GET", key))

        assert slot is not None
        assert slot != OF_FOO
        assert 0 <= slot < SLOTS

    @pytest.mark.parametrize(
        "command",
        [
            ("PING",),
            ("TIME",),
            ("PUBLISH", "foo", "x"),
            ("SCRIPT", "LOAD", "return 1"),
            ("EVALSHA", "0" * 40, 0, "foo"),
            ("UNLINK",),
        ],
        ids=lambda command: " ".join(map(str, command)),
    )
    def test_of_no_key(self, command: tuple[Argument, ...]) -> None:
        """Any node can answer, if only that an argument is missing."""
        assert slot_of(command) is None


class TestTopology:
    REPLY = (
        [0, 9999, [b"10.0.0.1", 7000, b"a"], [b"10.0.0.2", 7001, b"b", {}]],
        [10000, 16383, [b"", 7002, b"c"], [None, 7003, b"d"]],
    )

    def test_names_owners_and_replicas(self) -> None:
        """A node without a name is where it was asked."""
        topology = Topology.parse(self.REPLY, asked_host="redis.internal")

        assert topology.ranges == (
            (0, 9999, ("10.0.0.1", 7000)),
            (10000, 16383, ("redis.internal", 7002)),
        )
        assert topology.replicas == {("10.0.0.2", 7001), ("redis.internal", 7003)}
        assert topology.is_complete

    @pytest.mark.parametrize("reply", [(), REPLY[:1]], ids=["none", "some"])
    def test_that_leaves_slots_without_owner(self, reply: tuple[list[object], ...]) -> None:
        """It is known to be incomplete."""
        assert not Topology.parse(reply, asked_host="h").is_complete


class TestRedirects:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("MOVED 3999 127.0.0.1:6381", (3999, ("127.0.0.1", 6381), False)),
            ("ASK 3999 ::1:6381", (3999, ("::1", 6381), True)),
            ("MOVED 7 :6381", (7, ("asked", 6381), False)),
        ],
    )
    def test_name_slot_and_node(
        self, text: str, expected: tuple[int, tuple[str, int], bool]
    ) -> None:
        """Also by an address with colons, and by a node that names none."""
        redirect = Redirect.parse(text, asked_host="asked")

        assert (redirect.slot, redirect.node, redirect.is_ask) == expected

    def test_are_errors_where_there_is_no_cluster(self) -> None:
        """Nobody follows them there."""
        error = error_of("MOVED 3999 127.0.0.1:6381", "h:1", retry_after=1)

        assert (type(error), isinstance(error, RedisReplyError)) == (RedirectError, True)


class TestSeeds:
    @pytest.mark.parametrize(
        ("setting", "urls"),
        [
            ("redis://a", ["redis://a"]),
            ("redis://a:1/0,rediss://b:2/0", ["redis://a:1/0", "rediss://b:2/0"]),
            ("redis://a, redis://b", ["redis://a", "redis://b"]),
            ("redis://:x,y@a,redis://:x,y@b", ["redis://:x,y@a", "redis://:x,y@b"]),
        ],
    )
    def test_are_separated_by_commas(self, setting: str, urls: list[str]) -> None:
        """By those before a scheme: a password may hold others."""
        assert seed_urls(setting) == urls
