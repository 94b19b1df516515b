"""Different counters have different keys, whatever stands in the names."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.ratelimit.keys import counter_key, once_key, tenant_key
from shared.rpc.call import Tenant

Parts = tuple[str, str, int, str]

# Dense in what separates and brackets, so that collisions would be found.
_text = st.text(alphabet=st.sampled_from("ab_:{}%=/*é"), min_size=1, max_size=6)
_rules = st.from_regex(r"[a-z][a-z0-9_]{0,3}", fullmatch=True)
_positions = st.sampled_from([0, 1, 10])
_parts = st.tuples(_text, _rules, _positions, _text)


def _key(parts: Parts) -> str:
    tenant, rule, position, subject = parts
    return counter_key(tenant=Tenant(tenant), rule=rule, position=position, subject=subject)


class TestCounterKeys:
    @given(one=_parts, other=_parts)
    # Joined by an unescaped underscore these two would share a counter.
    @example(one=("a", "r", 1, "b_c=d"), other=("a_b", "r", 1, "c=d"))
    @example(one=("a", "b", 1, "c"), other=("a:b", "b", 1, "c"))
    @example(one=("a}", "b", 1, "c"), other=("a", "b", 1, "}:c"))
    @example(one=("a%3A", "b", 1, "c"), other=("a:", "b", 1, "c"))
    def test_no_two_counters_share_a_key(self, one: Parts, other: Parts) -> None:
        """The key tells all its parts apart."""
        assert (one == other) == (_key(one) == _key(other))

    @given(one=_parts, other=_parts)
    def test_a_cluster_hashes_the_tenant_and_nothing_else(self, one: Parts, other: Parts) -> None:
        """Between the first brace and the next stands the whole tenant, never empty."""
        tags = [_key(parts).partition("{")[2].partition("}")[0] for parts in (one, other)]

        assert all(tags)
        assert (one[0] == other[0]) == (tags[0] == tags[1])

    def test_it_begins_with_the_tenant(self) -> None:
        """So that an operator finds all counters of one."""
        key = counter_key(tenant=Tenant("acme"), rule="chat", position=0, subject="user:42")

        assert key == "rl:{acme}:chat:0:user:42"


class TestOtherKeys:
    @given(parts=_parts, part=st.sampled_from(["once:1", "held:x", "top:1"]))
    def test_are_no_counters(self, parts: Parts, part: str) -> None:
        """A rule has no tilde in its name."""
        assert _key(parts) != tenant_key(Tenant(parts[0]), part)

    @given(one=st.tuples(_text, _text), other=st.tuples(_text, _text))
    def test_no_two_acts_share_a_mark(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """Of one tenant and one kind; in the slot of the tenant's counters."""
        keys = [once_key(Tenant(tenant), "refund", name) for tenant, name in (one, other)]

        assert (one == other) == (keys[0] == keys[1])
        assert keys[0] != once_key(Tenant(one[0]), "charge", one[1])
        assert keys[0].startswith(tenant_key(Tenant(one[0]), ""))
