"""What `mainstay limits` reads from its options: documents and moments."""

from datetime import timedelta
from pathlib import Path

import pytest

from cli.arguments import UsageError
from cli.limits.options import document, shifted


class TestDocuments:
    def test_are_files(self, tmp_path: Path) -> None:
        """As they are."""
        policy = tmp_path / "policy.yaml"
        policy.write_text("version: 1 # ü\n", encoding="utf-8")

        assert "version: 1 # ü\n" == document(str(policy))

    def test_that_cannot_be_read_are_mistakes(self, tmp_path: Path) -> None:
        """Not there, a directory, or no text."""
        (tmp_path / "bytes").write_bytes(b"\xff")
        for name, said in (("none", "No such file"), (".", "name a file"), ("bytes", "not UTF-8")):
            with pytest.raises(UsageError, match=said):
                document(str(tmp_path / name))


class TestMoments:
    def test_beyond_the_calendar_are_mistakes(self) -> None:
        """A length may be longer than the calendar goes."""
        for span in (timedelta(days=10_000_000), timedelta(days=-10_000_000)):
            with pytest.raises(UsageError, match="--for leads beyond the calendar"):
                shifted(span, "--for")
