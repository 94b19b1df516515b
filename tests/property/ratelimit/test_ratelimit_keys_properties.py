"""Different counters have different keys, whatever stands in the names."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.ratelimit.keys import counter_key
from shared.rpc.call import Tenant

Parts = tuple[str, str, int, str]

# Dense in what separates and brackets, so that collisions would be found.
_text = st.text(alphabet=st.sampled_from("ab_:{}%=/*é"), min_size=1, max_size=6)
_rules = st.from_regex(r"[a-z][a-z0-9_]{0,3}", fullmatch=True)
_windows = st.sampled_from([1, 10, 100])
_parts = st.tuples(_text, _rules, _windows, _text)


def _key(parts: Parts) -> str:
    tenant, rule, window, subject = parts
    return counter_key(tenant=Tenant(tenant), rule=rule, window=window, subject=subject)


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
        key = counter_key(tenant=Tenant("acme"), rule="chat", window=60, subject="user:42")

        assert key == "rl:{acme}:chat:60:user:42"
