"""Redis keys, for any tenant, namespace and key a caller can think of."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.cache.keys import entry_key

# Few characters, and all of those with a meaning in Redis keys, so that near misses are common.
hostile = st.text(st.sampled_from("a:{}%257D3A/\\*"), min_size=1, max_size=12)
anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
tenants = hostile | anything
namespaces = st.text(st.sampled_from("ab._-"), min_size=1, max_size=5)
keys = hostile | anything
places = st.tuples(tenants, namespaces, keys)


class TestEntryKey:
    @given(places, places)
    @example(("a:cache:b", "c", "d"), ("a", "b", "c:d"))
    @example(("a", "b", "}"), ("a", "b", "%7D"))
    @example(("a:", "b", "c"), ("a%3A", "b", "c"))
    def test_different_places_never_meet(
        self, one: tuple[str, str, str], other: tuple[str, str, str]
    ) -> None:
        """No choice of tenant, namespace and key reaches another's entry."""
        assume(one != other)

        assert entry_key(*one) != entry_key(*other)

    @given(places)
    def test_the_whole_key_is_the_hash_tag(self, place: tuple[str, str, str]) -> None:
        """What later stands beside an entry, such as its lease, lies in the entry's slot."""
        where = entry_key(*place)

        assert where == b"{" + _hash_tag(where + b":lease") + b"}"

    @given(places)
    def test_the_tenant_comes_first(self, place: tuple[str, str, str]) -> None:
        """All keys of a tenant, and nobody else's, begin with its name and `:cache:`."""
        tenant, namespace, _ = place
        prefix = entry_key(tenant, namespace, "")[:-1]

        assert entry_key(*place).startswith(prefix)
        assert b":cache:" + namespace.encode() + b":" == prefix[prefix.index(b":") :]


def _hash_tag(key: bytes) -> bytes:
    """Return the part of a key that Redis Cluster hashes, as its specification has it."""
    opening = key.find(b"{")
    closing = key.find(b"}", opening + 1)
    return key[opening + 1 : closing] if opening >= 0 and closing > opening + 1 else key
