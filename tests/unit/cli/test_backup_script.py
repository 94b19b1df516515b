"""What passes from pg_restore to psql."""

import pytest

from cli.backup.script import PassingScript, has_ledger, wanted

SCRIPT = (
    b"SET statement_timeout = 0;\n"
    b"SET transaction_timeout = 0;\n"
    b"COPY jobs.jobs (a, b) FROM stdin;\n"
    b"one\ttwo\n"
    b"SET transaction_timeout = 0;\n"
    b"COPY jobs.steps (a) FROM stdin;\n"
    b"\\.\n"
    b"COPY jobs.steps (a) FROM stdin;\n"
    b"\\.\n"
    b"-- PostgreSQL database dump complete\n"
)
LISTING = """\
;
; Archive created at 2026-05-01 12:00:00 UTC
;     Format: CUSTOM
;
8; 2615 19994 SCHEMA - jobs mainstay
3415; 0 0 COMMENT - SCHEMA jobs mainstay
4; 2615 2200 SCHEMA - public pg_database_owner
3416; 0 0 COMMENT - SCHEMA public pg_database_owner
3499; 0 0 ACL - SCHEMA public pg_database_owner
230; 1259 19700 TABLE public mainstay_migrations mainstay
231; 1259 19701 TABLE jobs jobs mainstay
300; 1255 19800 FUNCTION public f() mainstay
301; 1255 19801 FUNCTION jobs rank(timestamp with time zone, integer) mainstay
3500; 0 19700 TABLE DATA public mainstay_migrations mainstay
3501; 0 19701 TABLE DATA jobs jobs mainstay
3320; 2606 19702 CONSTRAINT public mainstay_migrations mainstay_migrations_pkey mainstay
3321; 0 19701 ROW SECURITY jobs jobs mainstay
2130; 826 19900 DEFAULT ACL jobs DEFAULT PRIVILEGES FOR TABLES mainstay
2131; 826 19901 DEFAULT ACL jobs DEFAULT PRIVILEGES FOR TABLES other
"""


def fed(script: bytes, *, server: int, chunk: int) -> tuple[PassingScript, bytes]:
    """Pass a script in chunks of a size."""
    passing = PassingScript(server=server, on_table=lambda _: None)
    chunks = (script[at : at + chunk] for at in range(0, len(script), chunk))
    return passing, b"".join(map(passing.feed, chunks))


class TestPassingScript:
    @pytest.mark.parametrize("chunk", [1, 7, 1000])
    def test_counts_rows_however_they_are_cut(self, chunk: int) -> None:
        """A row that looks like a statement is a row; a table without rows is one too."""
        passing, passed = fed(SCRIPT, server=18, chunk=chunk)

        assert {"jobs.jobs": 3, "jobs.steps": 0} == passing.rows
        assert (SCRIPT, True) == (passed, passing.complete)

    def test_leaves_out_what_an_old_server_does_not_know(self) -> None:
        """The statement, not a row of the same text."""
        _, passed = fed(SCRIPT, server=16, chunk=50)

        assert SCRIPT.replace(b"SET transaction_timeout = 0;\n", b"", 1) == passed

    def test_tells_which_table_it_is_at(self) -> None:
        """Once for each."""
        tables: list[str] = []
        PassingScript(server=18, on_table=tables.append).feed(SCRIPT)

        assert ["jobs.jobs", "jobs.steps"] == tables

    def test_knows_that_it_was_cut(self) -> None:
        """Even between two lines."""
        passing, _ = fed(SCRIPT[: SCRIPT.index(b"-- Post")], server=18, chunk=50)

        assert not passing.complete


class TestWanted:
    def test_is_what_is_mainstays(self) -> None:
        """The schemas with what is in them, and the ledger; not what another role has to grant."""
        numbers = [line.partition(";")[0] for line in wanted(LISTING, ["jobs"], "mainstay")]

        assert ["8", "3415", "230", "231", "301", "3500", "3501", "3320", "3321", "2130"] == numbers

    def test_is_a_backup_of_mainstay_with_the_ledger(self) -> None:
        """Without its rows it is another program's."""
        entries = wanted(LISTING, ["jobs"], "mainstay")

        assert has_ledger(entries)
        assert not has_ledger([line for line in entries if "mainstay_migrations" not in line])
