"""Whatever characters the source yields, and whatever anybody sends."""

from hypothesis import given
from hypothesis import strategies as st

from shared.identity.api_key import ALPHABET, mint, parse
from shared.identity.grants import known_scopes, tenant_named
from shared.identity.scopes import SCOPES

CHARACTERS = st.lists(st.sampled_from(ALPHABET), min_size=44, max_size=44)
SOMETHING = st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()))


class TestKeys:
    @given(CHARACTERS)
    def test_are_parsed_as_they_were_made(self, characters: list[str]) -> None:
        """Whatever the source yields; the id and the digest are those of the new key."""
        source = iter(characters)
        key = mint(lambda _: next(source))
        shown = parse(key.text)

        assert shown is not None
        assert (key.key_id, True) == (shown.key_id, shown.is_of(key.digest))

    @given(CHARACTERS, st.integers(min_value=17, max_value=48), st.sampled_from(ALPHABET))
    def test_are_no_others_when_one_character_differs(
        self, characters: list[str], position: int, other: str
    ) -> None:
        """One of the secret's: the digest is not that of the key."""
        source = iter(characters)
        key = mint(lambda _: next(source))
        text = key.text[:position] + other + key.text[position + 1 :]
        shown = parse(text)

        assert shown is not None
        assert (text == key.text) == shown.is_of(key.digest)

    @given(st.text())
    def test_are_looked_for_in_any_text(self, text: str) -> None:
        """It is a key or it is not; it is never an error."""
        shown = parse(text)

        assert shown is None or text.startswith(f"msk_{shown.key_id}_")


class TestGrants:
    @given(st.lists(st.one_of(st.text(), st.sampled_from([*SCOPES, "*", "cache:*"]))))
    def test_never_give_more_than_there_is(self, grants: list[str]) -> None:
        """Unknown ones nothing; each known one itself, whatever stands beside it."""
        scopes = known_scopes(grants)

        assert scopes <= SCOPES
        assert {grant for grant in grants if grant in SCOPES} <= scopes
        assert not scopes or any(grant in {*SCOPES, "*", "cache:*"} for grant in grants)

    @given(SOMETHING)
    def test_name_a_tenant_that_calls_could_name(self, named: object) -> None:
        """Or all of them, or none."""
        tenant = tenant_named(named)

        assert tenant is None or tenant == "*" or (len(tenant) <= 64 and tenant.isascii())
