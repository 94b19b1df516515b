"""The picture of who needs whom."""

from services.health.page_graph import Graph, draw
from services.health.rollup import Report
from services.health.state import State
from services.health.target import Kind, Target
from tests.unit.health.status_samples import LOST, report


def picture(of: Report) -> Graph:
    return draw(of.checks)


def simple(name: str, needs: tuple[str, ...] = (), uses: tuple[str, ...] = ()) -> Target:
    return Target(name=name, kind=Kind.DISK, needs=needs, uses=uses)


class TestPlaces:
    def test_who_needs_stands_left_of_what_is_needed(self) -> None:
        """Also when the way there is longer than one line."""
        targets = (simple("a", ("b", "c")), simple("b", ("c",)), simple("c"))
        left = {node.name: node.left for node in picture(report(targets=targets)).nodes}

        assert left["a"] < left["b"] < left["c"]

    def test_who_is_tied_to_nobody_is_named_beside_it(self) -> None:
        """A lone node would say nothing."""
        targets = (simple("a", ("b",)), simple("b"), simple("c"))

        assert ("c",) == picture(report(targets=targets)).alone

    def test_a_cycle_is_drawn_too(self) -> None:
        """Two that need each other are a mistake in the configuration, and have to be seen."""
        targets = (simple("a", ("b",)), simple("b", ("a",)))
        drawn = picture(report(targets=targets))

        assert ["a", "b"] == [node.name for node in sorted(drawn.nodes, key=lambda each: each.left)]
        assert 2 == len(drawn.edges)

    def test_what_nobody_probes_is_not_drawn(self) -> None:
        """A need without a target has no place to lead to."""
        drawn = picture(report(targets=(simple("a", ("nowhere",)),)))

        assert ((), ("a",)) == (drawn.nodes, drawn.alone)


class TestFailures:
    def test_the_root_and_the_way_of_the_failure_are_marked(self) -> None:
        """The one that failed by itself, and the lines to whoever cannot do without it."""
        drawn = picture(report({"database": (State.UNHEALTHY, LOST)}))
        hit = {node.name for node in drawn.nodes if node.state is State.DEGRADED}

        assert ["database"] == [node.name for node in drawn.nodes if node.root]
        assert {"jobs", "queue", "replication"} == hit
        assert 3 == sum(edge.failing for edge in drawn.edges)

    def test_what_one_can_do_without_spreads_nothing(self) -> None:
        """Dotted lines never carry a failure, also when it comes by another way."""
        targets = (simple("a", ("c",), uses=("b",)), simple("b"), simple("c", ("b",)))
        drawn = picture(report({"b": (State.UNHEALTHY, LOST)}, targets=targets))

        lines = sorted((edge.optional, edge.failing) for edge in drawn.edges)
        assert [(False, True), (False, True), (True, False)] == lines
