"""Redis keys, for any tenant, namespace and key a caller can think of."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.cache.keys import (
    EntryName,
    entry_key,
    entry_name,
    items_key,
    lease_key,
    tenant_key,
    tenant_of,
)

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
    def test_the_name_comes_back(self, place: tuple[str, str, str]) -> None:
        """Whoever walks over Redis's keys finds out whose each is, and which belong to an entry."""
        where = entry_key(*place)

        assert EntryName(*place) == entry_name(where)
        assert entry_name(lease_key(where)) is None
        assert entry_name(items_key(where)) is None

    @given(places, tenants)
    def test_no_entry_lies_where_a_tenant_s_books_are(
        self, place: tuple[str, str, str], tenant: str
    ) -> None:
        """What belongs to a whole tenant cannot be read or written as an entry."""
        assert entry_key(*place) != tenant_key(tenant, "usage")
        assert entry_name(tenant_key(tenant, "usage")) is None

    @given(places, tenants)
    def test_the_tenant_comes_back(self, place: tuple[str, str, str], tenant: str) -> None:
        """Whoever walks over Redis's keys finds out whose books each are."""
        assert tenant == tenant_of(tenant_key(tenant, "epochs"), "epochs")
        assert tenant_of(tenant_key(tenant, "usage"), "epochs") is None
        assert tenant_of(entry_key(*place), "epochs") is None

    @given(st.binary(max_size=10), st.binary(max_size=10))
    def test_whatever_lies_in_redis_is_told_from_ours(self, one: bytes, other: bytes) -> None:
        """Of another program's key there is a name that can be asked for, or none."""
        name = entry_name(b"{" + one + b":cache:video:" + other + b"}")
        tenant = tenant_of(b"{" + one + b":cache}:epochs", "epochs")

        assert name is None or entry_key(*name)
        assert tenant is None or tenant_key(tenant, "epochs")

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
