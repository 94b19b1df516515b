"""What `make audit` makes of the answers of an advisory service."""

import pytest

from scripts.audit.outcome import Verdict
from scripts.audit.vulnerabilities import judge

GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}


class TestAnswers:
    @pytest.mark.parametrize(
        ("answers", "verdict"),
        [
            ([GOOD], Verdict.CLEAN),
            ([GOOD, BAD], Verdict.FOUND),
            ([UNKNOWN, BAD], Verdict.FOUND),
            ([GOOD, UNKNOWN], Verdict.NOT_CHECKED),
            ([UNKNOWN, UNKNOWN], Verdict.NOT_CHECKED),
            ([], Verdict.NOT_CHECKED),
        ],
    )
    def test_are_clean_only_when_there_is_one_for_each(
        self, answers: list[dict[str, object]], verdict: Verdict
    ) -> None:
        """A mirror that knows no advisories answers too, and says nothing."""
        assert verdict == judge(answers).verdict

    def test_name_what_is_wrong_and_what_helps(self) -> None:
        """The package, the advisory, and the version without it."""
        assert ("bad 2.0: PYSEC-1, fixed in 2.1",) == judge([GOOD, BAD]).details

    def test_nothing_is_called_clean_that_was_not_looked_at(self) -> None:
        """The sentence says so in capitals."""
        assert judge([UNKNOWN]).summary.startswith("NOT CHECKED")
