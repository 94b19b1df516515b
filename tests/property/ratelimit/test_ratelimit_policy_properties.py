"""Whatever somebody writes into a policy: it is one, or it is told what is wrong with it."""

from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.ratelimit.limit_grammar import LimitGrammar
from services.ratelimit.policy import (
    MAX_FIXED_QUOTA,
    MAX_QUOTA,
    MAX_WINDOW,
    Algorithm,
    Measure,
    Policy,
)
from services.ratelimit.policy_file import read_policy

SHIPPED = (Path(__file__).parents[3] / "policies" / "ratelimit.yaml").read_text(encoding="utf-8")

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=10),
    st.sampled_from(["20/min", "unlimited", "5.00/month", "gcra", "*", "open", "pro", "ai_chat"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Put something anywhere into the policy that is shipped."""
    document = yaml.safe_load(SHIPPED)
    place = document
    while draw(st.booleans()) and isinstance(place, dict | list) and place:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        inner = place[draw(st.sampled_from(keys))]
        if not isinstance(inner, dict | list) or not inner:
            break
        place = inner
    keys = sorted(place) if isinstance(place, dict) else range(len(place))
    place[draw(st.sampled_from(keys))] = draw(VALUES)
    text: str = yaml.safe_dump(document, allow_unicode=True)
    return text


def _is_read_or_refused(text: str) -> bool:
    found = read_policy(text)
    return isinstance(found, Policy) or (
        bool(found) and all(mistake.line >= 1 and mistake.what for mistake in found)
    )


class TestPolicy:
    @given(st.text())
    def test_of_any_text(self, text: str) -> None:
        """No error but those that are told."""
        assert _is_read_or_refused(text)

    @given(VALUES.map(yaml.safe_dump))
    def test_of_any_document(self, text: str) -> None:
        """Whatever it is made of."""
        assert _is_read_or_refused(text)

    @given(documents())
    def test_of_a_policy_that_somebody_has_changed(self, text: str) -> None:
        """In any place."""
        assert _is_read_or_refused(text)

    @given(st.sampled_from(SHIPPED.splitlines()), st.sampled_from(["", "  - {}", "  x: &a [*a]"]))
    def test_of_a_policy_with_another_line(self, old: str, new: str) -> None:
        """A slip of the editor."""
        assert _is_read_or_refused(SHIPPED.replace(old, new, 1))


class TestLimit:
    @given(
        st.from_regex(r"[0-9_.]{1,24}/[0-9]{0,9}(s|min|h|d|w|month)", fullmatch=True),
        st.sampled_from([*Algorithm]),
        st.sampled_from([*Measure]),
    )
    def test_is_within_its_bounds_or_refused(
        self, text: str, algorithm: Algorithm, measure: Measure
    ) -> None:
        """What is read can be counted."""
        try:
            limits = LimitGrammar(algorithm=algorithm, measure=measure).read(text)
        except ValueError:
            return
        fixed = algorithm is Algorithm.FIXED_WINDOW
        for limit in limits:
            assert 1 <= limit.quota <= (MAX_FIXED_QUOTA if fixed else MAX_QUOTA)
            assert 0 <= limit.window <= MAX_WINDOW
            assert text == limit.written
