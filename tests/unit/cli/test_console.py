"""What commands print, with a terminal and without."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.table import Table

from cli.console import console, facts, table

LONG = "user:" + "x" * 195


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Stand at a terminal of 80 columns, and return where it can be read from."""
    screen, keyboard = os.openpty()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    with os.fdopen(keyboard, "w") as stdout, monkeypatch.context() as within:
        within.setattr(sys, "stdout", stdout)
        yield screen
    os.close(screen)


def _rows() -> Table:
    made = table("last", "subject", "count", right=("count",), whole=("last",))
    made.add_row("2026-01-31 12:00:00 UTC", LONG, "1,234")
    return made


def _shown(screen: int) -> list[str]:
    sys.stdout.flush()
    return os.read(screen, 4_096).decode().splitlines()


class TestWithoutATerminal:
    @pytest.mark.parametrize("colours", ["", "1"])
    def test_every_line_is_whole(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        colours: str,
    ) -> None:
        """Whoever looks for a name in a pipe finds it, also where colours are forced."""
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setenv("FORCE_COLOR", colours)
        screen = console()
        screen.print(_rows())
        screen.print(facts([("tags", LONG)]))
        screen.print(f"{LONG} {LONG}")
        head, row, *rest = capsys.readouterr().out.splitlines()

        assert "subject" in head
        assert f"2026-01-31 12:00:00 UTC  {LONG}  1,234" == row.strip()
        assert [True, True] == [LONG in line for line in rest]
        assert f"{LONG} {LONG}" == rest[-1]


class TestAtATerminal:
    def test_names_are_folded_and_never_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Figures and moments stay in one piece."""
        with terminal(monkeypatch) as screen:
            console().print(_rows())
            lines = _shown(screen)
        first, *others = lines[1:]

        assert max(len(line.rstrip()) for line in lines) <= 80
        assert first.startswith("2026-01-31 12:00:00 UTC  user:x")
        assert first.endswith("  1,234")
        assert LONG == first.split()[3] + "".join(line.strip() for line in others)
