"""Keys as they are made, shown and compared; where their secrets must not appear."""

import hmac
from hashlib import sha256
from itertools import count
from unittest.mock import patch

import pytest

from shared.identity.api_key import ALPHABET, KeyId, NewKey, ShownKey, mint, parse, parse_id

ID, SECRET = "abcdefghijkl", "0123456789ABCDEFGHIJKLMNOPQRSTUV"
WHOLE = f"msk_{ID}_{SECRET}"


def minted() -> NewKey:
    """Make a key of a source that counts."""
    numbers = count()
    return mint(lambda characters: characters[next(numbers) % len(characters)])


class TestMinting:
    def test_takes_every_character_from_the_source(self) -> None:
        """Twelve for the id, thirty-two for the secret: nothing is left to another source."""
        assert ("0123456789ab", (ALPHABET * 2)[12:44]) == (minted().key_id, minted().secret)

    def test_makes_what_is_parsed(self) -> None:
        """The whole key leads to the digest that is stored."""
        key = minted()

        assert ShownKey(key_id=key.key_id, digest=key.digest) == parse(key.text)


class TestParsing:
    def test_keeps_a_digest_of_the_secret_alone(self) -> None:
        """SHA-256 of the characters after the second underscore."""
        shown = parse(WHOLE)

        assert shown == ShownKey(key_id=KeyId(ID), digest=sha256(SECRET.encode()).digest())

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "msk_",
            WHOLE[:-1],
            f"{WHOLE}x",
            f"{WHOLE}\n",
            f" {WHOLE}",
            WHOLE.upper(),
            WHOLE.replace("msk_", "sk_"),
            WHOLE.replace("a", "-"),
            WHOLE.replace("a", "ä"),
            WHOLE.replace("0", "\u0660"),
            f"msk_{ID}{SECRET}_",
        ],
    )
    def test_refuses_what_is_not_quite_a_key(self, text: str) -> None:
        """Digits of other scripts and a line break at the end, too."""
        assert parse(text) is None

    @pytest.mark.parametrize(
        ("typed", "key_id"),
        [(ID, ID), (f"msk_{ID}", ID), (ID[1:], None), (WHOLE, None), (f"{ID}\n", None)],
    )
    def test_takes_ids_as_people_type_them(self, typed: str, key_id: str | None) -> None:
        """With what `list` shows in front of them, or without."""
        assert key_id == parse_id(typed)


class TestComparing:
    def test_takes_as_long_for_every_digest(self) -> None:
        """By the function of the library that is made for it."""
        shown = parse(WHOLE)
        assert shown is not None
        with patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compared:
            answers = shown.is_of(sha256(SECRET.encode()).digest()), shown.is_of(bytes(32))

        assert ((True, False), 2) == (answers, compared.call_count)


class TestSecrets:
    def test_are_in_no_repr(self) -> None:
        """What is logged by accident shows neither the secret nor its digest."""
        shown = parse(WHOLE)
        assert shown is not None
        texts = repr(NewKey(key_id=KeyId(ID), secret=SECRET)), repr(shown), str([shown])

        assert not [text for text in texts if SECRET in text or "digest" in text]
