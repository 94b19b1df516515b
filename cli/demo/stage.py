"""What the demo prints: acts, the claims in them, whether each held, and the verdict."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.probe import ProbeError
from cli.suite import SuiteError
from mainstay.context import RequestContext
from mainstay.errors import MainstayError

WIDTH = 80
CLAIM_WIDTH = 65  # leaves room for the mark before and the time after


@dataclass(slots=True, kw_only=True)
class Act:
    """One act of the demo; filled while it plays."""

    title: str
    claims: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        """An act that claimed nothing has shown nothing."""
        return self.claims > 0 and not self.failures


class Stage:
    """Prints acts as they play and remembers what was claimed.

    Colours in a terminal, plain text elsewhere; never wider than 80 columns.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._acts: list[Act] = []
        self._checkpoint = time.perf_counter()

    @contextmanager
    def act(self, title: str, request: RequestContext) -> Iterator[None]:
        """Play one act; an error in it fails the act, and the next one plays all the same."""
        act = Act(title=title)
        self._acts.append(act)
        number = len(self._acts)
        heading = f"{number} {title}"
        self._console.print(
            f"\n[bold]{escape(heading):<57}[/] [dim]request …{request.request_id[-8:]}[/]",
            highlight=False,
        )
        begun = self._checkpoint = time.perf_counter()
        try:
            yield
        except (MainstayError, ProbeError, SuiteError, TimeoutError) as exc:
            self.claim(f"went on to its end ({type(exc).__name__}: {exc})", holds=False)
        finally:
            act.seconds = time.perf_counter() - begun

    def say(self, text: str) -> None:
        """Print what happened, without a claim."""
        self._line("[dim]·[/]", text)

    def claim(self, text: str, *, holds: bool) -> None:
        """Print and count a claim; the time shown is that since the last one."""
        act = self._acts[-1]
        act.claims += 1
        if not holds:
            act.failures.append(text)
        self._line("[green]✓[/]" if holds else "[bold red]✗[/]", text)

    def _line(self, mark: str, text: str) -> None:
        now = time.perf_counter()
        elapsed, self._checkpoint = (now - self._checkpoint) * 1000, now
        first, *rest = _wrap(text)
        self._console.print(f"  {mark} {escape(first):<{CLAIM_WIDTH}} [dim]{elapsed:6.0f} ms[/]")
        for line in rest:
            self._console.print(f"    {escape(line)}")

    def verdict(self) -> bool:
        """Print the table of all acts; returns whether every claim held."""
        table = Table("act", "claims", "time", "verdict", box=None, pad_edge=False)
        for number, act in enumerate(self._acts, start=1):
            table.add_row(
                f"{number} {act.title}",
                str(act.claims),
                f"{act.seconds:.1f} s",
                "[green]shown[/]" if act.held else f"[bold red]{len(act.failures)} not shown[/]",
            )
        self._console.print()
        self._console.print(table)
        return bool(self._acts) and all(act.held for act in self._acts)


def _wrap(text: str) -> list[str]:
    """Break at spaces; a word longer than a line stays whole."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and len(longer) > CLAIM_WIDTH:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
