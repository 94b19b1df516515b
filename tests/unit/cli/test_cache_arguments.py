"""What people type after `mainstay cache`."""

from datetime import timedelta
from pathlib import Path

import pytest

from cli.arguments import UsageError, length, length_back
from cli.cache.arguments import Place, data, place, places, value
from cli.cache.target import chosen
from cli.wording import length as in_words
from cli.wording import size


class TestPlaces:
    def test_the_first_slash_ends_the_namespace(self) -> None:
        """Keys may have as many as they like."""
        assert Place(namespace="video", key="a/b/") == place("video/a/b/")

    @pytest.mark.parametrize("text", ["video", "video/", "/42", "", "/"])
    def test_both_parts_are_needed(self, text: str) -> None:
        """What it should look like is part of the answer."""
        with pytest.raises(UsageError, match="NAMESPACE/KEY, such as video/42"):
            place(text)

    def test_keys_of_one_call_share_a_namespace(self) -> None:
        """As they do in the contract."""
        assert ("video", ["1", "2/3"]) == places(["video/1", "video/2/3"])
        with pytest.raises(UsageError, match=r"several namespaces \(chat, video\)"):
            places(["video/1", "chat/1"])


class TestLengths:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("250ms", timedelta(milliseconds=250)),
            ("90s", timedelta(seconds=90)),
            ("5m", timedelta(minutes=5)),
            ("24h", timedelta(hours=24)),
            ("7d", timedelta(days=7)),
            ("1h30m", timedelta(minutes=90)),
            ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
            ("0s", timedelta()),
        ],
    )
    def test_numbers_and_units(self, text: str, expected: timedelta) -> None:
        """Each unit once, the greatest first."""
        assert expected == length(text, "--ttl")

    @pytest.mark.parametrize(
        "text", ["", "5", "m", "5 m", "-5m", "1.5h", "5min", "30m1h", "1h1h", "1h 2m", "٣m"]
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        """With the option's name and an example."""
        with pytest.raises(
            UsageError, match=r"--ttl .* whole numbers and d, h, m, s or ms: 5m, 1h30m"
        ):
            length(text, "--ttl")

    def test_one_that_no_clock_can_hold(self) -> None:
        """Numbers have twelve digits at most, days more than a calendar has."""
        with pytest.raises(UsageError, match="too long"):
            length("999999999999d", "--ttl")

    @pytest.mark.parametrize("text", ["0s", "0d0h", "91d", "90d1ms", "9999999d"])
    def test_no_time_and_too_much_are_no_way_back(self, text: str) -> None:
        """Nothing is found in what is not kept."""
        quarter = timedelta(days=90)

        assert quarter == length_back("90d", "--since", most=quarter)
        with pytest.raises(UsageError, match=f"--since {text} .* at most 90d"):
            length_back(text, "--since", most=quarter)


class TestValues:
    def test_are_the_argument_or_a_file(self, tmp_path: Path) -> None:
        """A file goes as it is, byte for byte."""
        file = tmp_path / "picture"
        file.write_bytes(b"\xff\x00\n")

        assert "grüße".encode() == value("grüße")
        assert b"\xff\x00\n" == value(f"@{file}")
        assert b"" == value("")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        """Or is a directory."""
        with pytest.raises(UsageError, match="No such file"):
            value(f"@{tmp_path}/nothing")
        with pytest.raises(UsageError, match="name a file after @"):
            value(f"@{tmp_path}")


class TestData:
    def test_names_and_values(self) -> None:
        """The value may contain what separates it from the name."""
        assert {"user_id": "42", "query": "a=b", "empty": ""} == data(
            ["user_id=42", "query=a=b", "empty="]
        )

    @pytest.mark.parametrize("pair", ["user_id", "=42", ""])
    def test_anything_else_is_refused(self, pair: str) -> None:
        """With an example."""
        with pytest.raises(UsageError, match="NAME=VALUE, such as user_id=42"):
            data([pair])

    def test_dots_lead_into_objects(self) -> None:
        """As in the templates of the policy."""
        assert {"order": {"id": "7", "shop": {"id": "x"}}, "by": "me"} == data(
            ["order.id=7", "by=me", "order.shop.id=x"]
        )

    @pytest.mark.parametrize("pairs", [["a=1", "a=2"], ["a.b=1", "a.b=2"], ["a.b=1", "a=2"]])
    def test_a_name_twice(self, pairs: list[str]) -> None:
        """One of the values would be lost."""
        with pytest.raises(UsageError, match=r"names 'a(\.b)?' twice"):
            data(pairs)

    def test_a_value_is_no_object(self) -> None:
        """What is to be within it has no place."""
        with pytest.raises(UsageError, match="goes into 'a', which is a value"):
            data(["a=1", "a.b=2"])


class TestTargets:
    def test_one_is_chosen(self) -> None:
        """None and several are refused with all there are."""
        none = {"keys": (), "tags": (), "prefix": None, "namespace": None, "event": None}
        all_of = "give one of --key, --tag, --prefix, --namespace and --event"
        for given in ({}, {"tags": ["a"], "namespace": "video"}, {"keys": ["v/1"], "event": "e"}):
            with pytest.raises(UsageError, match=all_of):
                chosen(**{**none, **given}, event_data=())  # type: ignore[arg-type]

        assert (
            "everything tagged a or b"
            == chosen(
                keys=(), tags=["a", "b"], prefix=None, namespace=None, event=None, event_data=()
            ).what
        )

    def test_data_belongs_to_an_event(self) -> None:
        """Alone it would be ignored."""
        with pytest.raises(UsageError, match="name its type with --event"):
            chosen(keys=(), tags=["a"], prefix=None, namespace=None, event=None, event_data=["a=1"])


class TestWords:
    @pytest.mark.parametrize(
        ("span", "expected"),
        [
            (timedelta(0), "0 ms"),
            (timedelta(milliseconds=250), "250 ms"),
            (timedelta(seconds=1.9), "1 s"),
            (timedelta(seconds=3725), "1 h 2 min"),
            (timedelta(hours=1), "1 h"),
            (timedelta(days=2, seconds=5), "2 d 5 s"),
        ],
    )
    def test_lengths(self, span: timedelta, expected: str) -> None:
        """In their two greatest units."""
        assert expected == in_words(span)

    @pytest.mark.parametrize(
        ("number", "expected"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 * 1024**3, "5.0 GiB"),
            (3 * 1024**5, "3072.0 TiB"),
        ],
    )
    def test_sizes(self, number: int, expected: str) -> None:
        """In units that keep numbers small."""
        assert expected == size(number)
