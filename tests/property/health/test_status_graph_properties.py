"""The picture of who needs whom, for any needs at all."""

from hypothesis import given
from hypothesis import strategies as st

from services.health.page_graph import ROW_HEIGHT, draw
from services.health.rollup import Check
from services.health.state import State
from services.health.target import Kind, Target

NAMES = tuple("abcdefghijkl")
ties = st.lists(st.sampled_from(NAMES), max_size=12, unique=True).map(tuple)


@st.composite
def checks(draw_from: st.DrawFn) -> list[Check]:
    made = []
    for name in draw_from(st.lists(st.sampled_from(NAMES), unique=True)):
        needs, uses = draw_from(ties), draw_from(ties)
        target = Target(name=name, kind=Kind.DISK, needs=needs, uses=uses)
        state = draw_from(st.sampled_from(State))
        made.append(Check(target=target, own=state, state=state))
    return made


@given(made=checks())
def test_every_target_is_shown_once_and_within_the_picture(made: list[Check]) -> None:
    """Whatever the needs, cycles included: nothing is lost, covered or cut off."""
    picture = draw(made)

    shown = [node.name for node in picture.nodes] + list(picture.alone)
    assert sorted(check.target.name for check in made) == sorted(shown)
    places = {(node.left, node.top // ROW_HEIGHT) for node in picture.nodes}
    assert len(places) == len(picture.nodes)
    for node in picture.nodes:
        assert 0 <= node.left <= 100.1 - picture.width
        assert 0 <= node.top < picture.height
