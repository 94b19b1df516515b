"""SECURITY.md names tests, settings, scopes and files that exist."""

import re
from pathlib import Path

import pytest

from cli.settings import SuiteSettings
from shared.identity.scopes import SCOPES
from shared.process_settings import PREFIX

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([^`\n]+)`", TEXT)
TESTS = sorted({name for name in NAMED if name.startswith("tests/")})
FILES = sorted(
    {
        name
        for name in [*NAMED, *re.findall(r"\]\(([^)]+)\)", TEXT)]
        if re.match(r"(docs|shared|deploy|requirements)/", name)
    }
)
SETTINGS = sorted(set(re.findall(rf"{PREFIX}[A-Z_]+", TEXT)))


class TestThePage:
    @pytest.mark.parametrize("name", TESTS)
    def test_names_tests_that_exist(self, name: str) -> None:
        """A promise is worth as much as the test that holds it."""
        path, _, cls = name.partition("::")

        assert (REPOSITORY / path).exists()
        assert not cls or f"\nclass {cls}:\n" in (REPOSITORY / path).read_text(encoding="utf-8")

    @pytest.mark.parametrize("name", FILES)
    def test_names_files_that_exist(self, name: str) -> None:
        """So that whoever reads it finds them."""
        assert (REPOSITORY / name).exists()

    @pytest.mark.parametrize("name", SETTINGS)
    def test_names_settings_that_exist(self, name: str) -> None:
        """A setting that is gone protects nothing."""
        assert name.removeprefix(PREFIX).lower() in SuiteSettings.model_fields

    def test_names_scopes_that_exist(self) -> None:
        """Those that are written as one."""
        named = {name for name in NAMED if re.fullmatch(r"[a-z]+:[a-z]+", name)}

        assert {"jobs:work", "operations:read", "health:read"} == named
        assert named <= SCOPES

    def test_every_promise_names_what_holds_it(self) -> None:
        """No row of the table without a test or a file."""
        promises = TEXT.partition("## What is promised")[2].partition("\n## ")[0]
        rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]

        assert rows
        assert [] == [row for row in rows if "`" not in row.rstrip("| ").rpartition(" | ")[2]]
