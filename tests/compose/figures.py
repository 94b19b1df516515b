"""What was measured while the tests of this folder ran, printed as a table at their end."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    what: str
    measured: str
    bar: str = ""


@dataclass(slots=True)
class Figures:
    """Collects them in the order in which they were measured."""

    rows: list[Figure] = field(default_factory=list)

    def add(self, what: str, measured: str, bar: str = "") -> None:
        """Keep one more."""
        self.rows.append(Figure(what=what, measured=measured, bar=bar))

    def lines(self) -> list[str]:
        """Return the table."""
        rows = [("what", "bar", "measured")]
        rows += [(row.what, row.bar or "-", row.measured) for row in self.rows]
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        return [f"{what:<{first}}  {bar:<{second}}  {found}" for what, bar, found in rows]


FIGURES = Figures()
