"""What pg_restore writes: a script of statements and of rows, which are counted as it passes."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator

LEDGER = "mainstay_migrations"
_COPY = re.compile(rb"COPY (\S+) \(.*\) FROM stdin;")
_ENTRY = re.compile(r"\d+; \d+ \d+ (?P<type>[A-Z]+(?: [A-Z]+)*) (?P<schema>\S+) (?P<name>.*)")
_LAST = b"-- PostgreSQL database dump complete"
# Written by every pg_restore from 17 on, and unknown to every server before.
_UNKNOWN_BEFORE_17 = b"SET transaction_timeout = 0;"
_HAS_TRANSACTION_TIMEOUT = 17


class PassingScript:
    """A script that passes in chunks.

    Attributes:
        rows: How many rows of each table have passed.
        complete: Whether the last line has.

    """

    def __init__(self, *, server: int, on_table: Callable[[str], None]) -> None:
        self.rows: Counter[str] = Counter()
        self.complete = False
        self._server = server
        self._on_table = on_table
        self._table: str | None = None
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what can go on of all that has come: whole lines that this server understands."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return b"".join(line + b"\n" for line in self._understood(lines))

    def _understood(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            if self._table is not None:
                if line == b"\\.":
                    self._table = None
                else:
                    self.rows[self._table] += 1
            elif match := _COPY.fullmatch(line):
                self._table = match[1].decode()
                self.rows[self._table] += 0
                self._on_table(self._table)
            elif line == _LAST:
                self.complete = True
            elif line == _UNKNOWN_BEFORE_17 and self._server < _HAS_TRANSACTION_TIMEOUT:
                continue
            yield line


def wanted(listing: str, schemas: Collection[str], role: str) -> list[str]:
    """Return the entries of a backup's list that are Mainstay's, and that `role` may restore.

    The ledger stands in a schema of others, whose own things stay where they are. What another role
    grants of its tables to come, nobody else can grant for it.
    """
    return [line for line in listing.splitlines() if _is_wanted(line, schemas, role)]


def has_ledger(entries: Collection[str]) -> bool:
    """Return whether the rows of the ledger are among the entries."""
    return any(" TABLE DATA " in entry and f" {LEDGER} " in f"{entry} " for entry in entries)


def _is_wanted(line: str, schemas: Collection[str], role: str) -> bool:
    entry = _ENTRY.match(line)
    if entry is None:
        return False
    if entry["type"] == "DEFAULT ACL" and not entry["name"].endswith(f" {role}"):
        return False
    words = entry["name"].split()
    if entry["schema"] == "-":
        # "SCHEMA - jobs owner", "COMMENT - SCHEMA jobs owner"
        return any(word in schemas for word in words[:2])
    return entry["schema"] in schemas or LEDGER in words
