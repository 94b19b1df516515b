"""docs/errors.md says what the tree says."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mainstay.errors import error_types

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "generate_errors.py"
GATE = (
    ROOT / "shared" / "identity" / "refusals.py",
    ROOT / "shared" / "rpc" / "admission.py",
    ROOT / "shared" / "rpc" / "gate.py",
    ROOT / "sdk" / "src" / "mainstay" / "handshakes.py",
)
REASON = re.compile(r'(?:^[A-Z_]+ = |reason=)"([A-Z_]+)"', re.MULTILINE)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the script as `make check` runs it."""
    spec = importlib.util.spec_from_file_location("generate_errors", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["generate_errors.py", "--check"])
    return module


class TestThePage:
    def test_is_up_to_date(self, script: ModuleType) -> None:
        """Whoever changes the tree writes the page anew: `make gen`."""
        assert 0 == script.main()

    def test_has_a_section_for_every_kind(self, script: ModuleType) -> None:
        """With its codes in the table, once."""
        text = script.page()

        for kind in error_types():
            assert 1 == text.count(f"\n## {kind.__name__}\n")
            assert f"| {kind.code.name} | {kind.http_status} | `{kind.default_reason}` |" in text

    def test_has_every_reason_of_the_gate(self, script: ModuleType) -> None:
        """All that a caller may be refused with before a method begins, and nothing made up."""
        found = {reason for file in GATE for reason in REASON.findall(file.read_text())}

        assert found == set(script.REASONS)

    @pytest.mark.parametrize("stale", ["", "something else"])
    def test_a_stale_one_fails_the_check(
        self,
        script: ModuleType,
        stale: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """And the message says what to do."""
        page = tmp_path / "errors.md"
        if stale:
            page.write_text(stale)
        monkeypatch.setattr(script, "PAGE", page)

        assert 1 == script.main()
        assert "make gen" in capsys.readouterr().err
