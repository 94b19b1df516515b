"""A descriptor finds what applies to it; no value that a client sends can make it miss that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ratelimit.act import mistake_in
from services.ratelimit.envoy_policy import (
    EnvoyAim,
    EnvoyDomain,
    EnvoyEntry,
    EnvoyNode,
    EnvoyTarget,
)
from services.ratelimit.envoy_template import EnvoyTemplate


def _leaf(rule: str) -> EnvoyNode:
    return EnvoyNode(target=EnvoyTarget(rule=rule))


DOMAIN = EnvoyDomain(
    name="edge",
    root=EnvoyNode(
        nodes={
            ("remote_address", None): _leaf("per_address"),
            ("remote_address", "10.0.0.1"): EnvoyNode(),
            ("route", "chat"): EnvoyNode(
                target=EnvoyTarget(rule="all_chats"),
                nodes={("user", None): _leaf("chat"), ("user", "robot"): _leaf("robots")},
            ),
            ("route", None): EnvoyNode(nodes={("user", None): _leaf("other")}),
        }
    ),
)


def _find(*entries: tuple[str, str], domain: EnvoyDomain = DOMAIN) -> EnvoyAim | None:
    return domain.find([EnvoyEntry(*entry) for entry in entries])


def _rule(*entries: tuple[str, str]) -> str | None:
    aim = _find(*entries)
    return None if aim is None else aim.rule


def _aim(target: EnvoyTarget, *entries: tuple[str, str]) -> EnvoyAim:
    """Follow entries whose values are all open to a target."""
    node = EnvoyNode(target=target)
    for key, _ in reversed(entries):
        node = EnvoyNode(nodes={(key, None): node})
    aim = _find(*entries, domain=EnvoyDomain(name="edge", root=node))
    assert aim is not None
    return aim


class TestThePath:
    @pytest.mark.parametrize(
        ("entries", "rule"),
        [
            ([("remote_address", "10.0.0.2")], "per_address"),
            ([("route", "chat")], "all_chats"),
            ([("route", "chat"), ("user", "42")], "chat"),
            ([("route", "chat"), ("user", "robot")], "robots"),
            ([("route", "films"), ("user", "42")], "other"),
        ],
    )
    def test_a_named_value_goes_before_an_open_one(
        self, entries: list[tuple[str, str]], rule: str
    ) -> None:
        """At every step of the path."""
        assert rule == _rule(*entries)

    @pytest.mark.parametrize(
        "entries",
        [
            [],
            [("unknown", "x")],
            [("route", "films")],
            [("user", "42"), ("route", "chat")],
            [("remote_address", "10.0.0.2"), ("user", "42")],
            [("route", "chat"), ("user", "42"), ("user", "42")],
        ],
    )
    def test_what_ends_nowhere_is_not_limited(self, entries: list[tuple[str, str]]) -> None:
        """Too short, too long, unknown, or in another order."""
        assert _rule(*entries) is None

    def test_a_named_value_without_a_limit_is_exempt(self) -> None:
        """Nothing goes back to the open value beside it."""
        assert _rule(("remote_address", "10.0.0.1")) is None


class TestTheSubject:
    def test_open_values_set_subjects_apart(self) -> None:
        """With their keys; named values are the same for everybody."""
        aim = _find(("route", "chat"), ("user", "a b"))

        assert aim is not None
        assert aim.subject == "user=a%20b"

    def test_where_all_values_are_named_the_domain_is_the_subject(self) -> None:
        """All of its requests share one counter."""
        aim = _find(("route", "chat"))

        assert aim is not None
        assert (aim.subject, aim.endpoint) == ("envoy:edge", "envoy:edge")

    def test_a_template_names_it_as_backends_do(self) -> None:
        """So that both count on one counter."""
        target = EnvoyTarget(rule="chat", subject=EnvoyTemplate.parse("user:{user}"))

        assert _aim(target, ("user", "4:2")).subject == "user:4:2"

    def test_what_says_plan_or_endpoint_does_not_say_who(self) -> None:
        """A subject that changes its plan keeps what it consumed."""
        target = EnvoyTarget(
            plan=EnvoyTemplate.parse("{tier}"), endpoint=EnvoyTemplate.parse("{path}")
        )
        aim = _aim(target, ("tier", "pro"), ("path", "/api/chat"), ("user", "42"))

        assert EnvoyAim("", "/api/chat", "user=42", "pro", always=False) == aim

    @given(
        st.lists(st.text(alphabet="a=;%:b", max_size=4), min_size=2, max_size=2),
        st.lists(st.text(alphabet="a=;%:b", max_size=4), min_size=2, max_size=2),
        st.sampled_from([None, EnvoyTemplate.parse("{x}:{y}"), EnvoyTemplate.parse("u{y}/{x};")]),
    )
    def test_other_values_are_another_subject(
        self, one: list[str], other: list[str], template: EnvoyTemplate | None
    ) -> None:
        """Separators inside of values join nothing."""
        target = EnvoyTarget(rule="chat", subject=template)
        subjects = [_aim(target, ("x", x), ("y", y)).subject for x, y in (tuple(one), tuple(other))]

        assert (one == other) == (subjects[0] == subjects[1])

    @given(st.text(max_size=600))
    def test_every_value_makes_an_act_that_can_be_judged(self, value: str) -> None:
        """One that could not would pass Envoy unlimited."""
        target = EnvoyTarget(
            endpoint=EnvoyTemplate.parse("{x}"), subject=EnvoyTemplate.parse("{x}")
        )
        aim = _aim(target, ("x", value))

        assert (mistake_in(aim.subject), mistake_in(aim.endpoint)) == (None, None)

    def test_long_values_stay_apart(self) -> None:
        """Cutting them would make two clients one, or one client many."""
        target = EnvoyTarget(rule="chat", subject=EnvoyTemplate.parse("{x}"))
        subjects = {_aim(target, ("x", "a" * 300 + end)).subject for end in "aab"}

        assert len(subjects) == 2


class TestTheEndpoint:
    @pytest.mark.parametrize(
        ("value", "endpoint"),
        [
            ("/api/chat", "/api/chat"),
            ("/api/chat?x=1#y", "/api/chat"),
            ("/api/chat#y?x=1", "/api/chat"),
            ("/%61pi/ch%C3%A4t?x=%2F", "/api/chät"),
            ("/%FF%0a", "/\ufffd?"),
            ("/?", "/"),
            ("chat?%61", "chat?%61"),
            ("/a\tb\x7f", "/a?b?"),
            ("", "?"),
            ("/" + "a" * 400, "/" + "a" * 255),
            ("/" + "é" * 200, "/" + "é" * 127),
        ],
    )
    def test_is_a_path_without_its_query(self, value: str, endpoint: str) -> None:
        """A query, or an encoding, would make an exact endpoint of the policy another one."""
        target = EnvoyTarget(endpoint=EnvoyTemplate.parse("{x}"))

        assert endpoint == _aim(target, ("x", value)).endpoint


class TestTemplates:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("user:{user", "a brace without its other half"),
            ("user}", "a brace without its other half"),
            ("{}", "a brace without its other half"),
            ("{x}{y}", "nothing between two keys"),
            ("{x}-or.{y}", "nothing between two keys"),
        ],
    )
    def test_what_could_be_read_in_two_ways_is_refused(self, text: str, told: str) -> None:
        """Of `{x}-or.{y}` nobody could tell where the first value ends."""
        with pytest.raises(ValueError, match=told):
            EnvoyTemplate.parse(text)
