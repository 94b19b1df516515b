"""Where the targets stand in the picture of who needs whom.

Columns from left to right: whoever needs something stands left of it. Within a column the order
follows the neighbours, so that few lines cross. Places are shares of the width and pixels of the
height: the picture fits a phone while its letters keep their size.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.health.rollup import Check
from services.health.state import State

ROW_HEIGHT = 44
NODE_HEIGHT = 32
_SWEEPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A target in the picture.

    Attributes:
        name: Its name.
        state: Its state.
        left: Where it begins, in percent of the width.
        top: Where it begins, in pixels.
        root: Whether it failed by itself.

    """

    name: str
    state: State
    left: float
    top: int
    root: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A line from who needs to what is needed.

    Attributes:
        x1: Where it begins, in percent of the width.
        y1: Where it begins, in pixels.
        x2: Where it ends, in percent of the width.
        y2: Where it ends, in pixels.
        optional: Whether the one can do without the other.
        failing: Whether a failure spreads along it.

    """

    x1: float
    y1: int
    x2: float
    y2: int
    optional: bool
    failing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The picture.

    Attributes:
        columns: How many columns it has; none when nobody needs anything.
        height: In pixels.
        width: The width of a node, in percent of the whole.
        nodes: The targets that need, use, or are needed or used.
        edges: The lines between them.
        alone: The names of all other targets.

    """

    columns: int
    height: int
    width: float
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    alone: tuple[str, ...]


def draw(checks: Sequence[Check]) -> Graph:
    """Return the picture of these targets."""
    by_name = {check.target.name: check for check in checks}
    below = {name: _below(check, by_name) for name, check in by_name.items()}
    tied = {name for name in by_name if below[name]}.union(*below.values())
    columns = _columns(_depths(sorted(tied), below), below)
    width = _width(len(columns))
    places = _places(columns, width)
    return Graph(
        columns=len(columns),
        height=max(map(len, columns), default=0) * ROW_HEIGHT,
        width=width,
        nodes=tuple(_node(by_name[name], *place) for name, place in places.items()),
        edges=tuple(_edges(by_name, below, places, width)),
        alone=tuple(sorted(by_name.keys() - tied)),
    )


def _below(check: Check, known: Mapping[str, Check]) -> tuple[str, ...]:
    target = check.target
    names = dict.fromkeys((*target.needs, *target.uses))
    return tuple(name for name in names if name in known and name != target.name)


def _depths(names: Sequence[str], below: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the column of each: one more than that of the last that needs it.

    A walk that comes back to where it began has found a cycle; that line pushes nobody down.
    """
    order: list[str] = []
    seen: set[str] = set()
    under_way: list[str] = []
    lines: list[tuple[str, str]] = []

    def walk(name: str) -> None:
        seen.add(name)
        under_way.append(name)
        for lower in below[name]:
            if lower not in under_way:
                lines.append((name, lower))
            if lower not in seen:
                walk(lower)
        under_way.pop()
        order.append(name)

    for name in names:
        if name not in seen:
            walk(name)
    depths = dict.fromkeys(names, 0)
    rank = {name: place for place, name in enumerate(reversed(order))}
    for name, lower in sorted(lines, key=lambda line: rank[line[0]]):
        depths[lower] = max(depths[lower], depths[name] + 1)
    return depths


def _columns(depths: Mapping[str, int], below: Mapping[str, Sequence[str]]) -> list[list[str]]:
    columns: list[list[str]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for name in sorted(depths):
        columns[depths[name]].append(name)
    columns = [column for column in columns if column]
    neighbours: dict[str, set[str]] = {name: set() for name in depths}
    for name in depths:
        for lower in below[name]:
            neighbours[name].add(lower)
            neighbours[lower].add(name)
    for _ in range(_SWEEPS):
        for column in columns:
            heights = {
                name: row - len(each) / 2 for each in columns for row, name in enumerate(each)
            }
            column.sort(key=lambda name: _middle(neighbours[name], heights))
    return columns


def _middle(names: Iterable[str], heights: Mapping[str, float]) -> float:
    found = [heights[name] for name in names]
    return sum(found) / len(found)


def _width(columns: int) -> float:
    gap = 9 if columns > 3 else 16  # noqa: PLR2004 - many columns stand closer
    return round((100 - gap * (columns - 1)) / columns, 2) if columns else 0


def _places(columns: Sequence[Sequence[str]], width: float) -> dict[str, tuple[float, int]]:
    tallest = max(map(len, columns), default=0)
    step = (100 - width) / (len(columns) - 1) if len(columns) > 1 else 0
    return {
        name: (
            round(step * number, 2),
            int((row + (tallest - len(column)) / 2) * ROW_HEIGHT + (ROW_HEIGHT - NODE_HEIGHT) / 2),
        )
        for number, column in enumerate(columns)
        for row, name in enumerate(column)
    }


def _node(check: Check, left: float, top: int) -> Node:
    return Node(
        name=check.target.name,
        state=check.state,
        left=left,
        top=top,
        root=_failed(check) and not check.because,
    )


def _failed(check: Check) -> bool:
    return check.own not in {State.HEALTHY, State.MAINTENANCE}


def _edges(
    checks: Mapping[str, Check],
    below: Mapping[str, Sequence[str]],
    places: Mapping[str, tuple[float, int]],
    width: float,
) -> Iterable[Edge]:
    for name in places:
        for lower in below[name]:
            (left, top), (lower_left, lower_top) = places[name], places[lower]
            leads_right = lower_left > left
            needed = lower in checks[name].target.needs
            yield Edge(
                x1=round(left + (width if leads_right else 0), 2),
                y1=top + NODE_HEIGHT // 2,
                x2=round(lower_left + (0 if leads_right else width), 2),
                y2=lower_top + NODE_HEIGHT // 2,
                optional=not needed,
                failing=needed and _spreads(checks[lower], checks[name]),
            )


def _spreads(needed: Check, by: Check) -> bool:
    """Tell whether what is wrong with one reaches the one that needs it."""
    roots = {needed.target.name, *needed.because}
    return needed.state is not State.HEALTHY and not roots.isdisjoint(by.because)
