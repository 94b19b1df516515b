"""docs/scopes.md says what the contract says, and the contract says it of every method."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from shared.identity.scopes import OPEN, SCOPES

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "generate_scopes.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the script as `make check` runs it."""
    spec = importlib.util.spec_from_file_location("generate_scopes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["generate_scopes.py", "--check"])
    return module


class TestTheContract:
    def test_every_method_declares_a_scope_that_exists(self, script: ModuleType) -> None:
        """One without could be called by anybody, or by nobody."""
        strays = {
            f"{service}.{method}": scope
            for service, methods in script.declared().items()
            for method, scope in methods.items()
            if scope not in {OPEN, *SCOPES}
        }

        assert {} == strays

    def test_every_scope_is_declared_by_a_method(self, script: ModuleType) -> None:
        """A grant of one that nothing asks for would grant nothing."""
        used = {scope for methods in script.declared().values() for scope in methods.values()}

        assert {OPEN, *SCOPES} == used

    def test_what_is_open_is_what_balancers_ask(self, script: ModuleType) -> None:
        """Whatever else is open was left open by mistake."""
        opened = {
            f"{service}.{method}"
            for service, methods in script.declared().items()
            for method, scope in methods.items()
            if scope == OPEN
        }

        assert {
            "grpc.health.v1.Health.Check",
            "grpc.health.v1.Health.List",
            "grpc.health.v1.Health.Watch",
            "mainstay.health.v1.HealthService.Ready",
        } == opened


class TestThePage:
    def test_is_up_to_date(self, script: ModuleType) -> None:
        """Whoever changes the contract writes the page anew: `make gen`."""
        assert 0 == script.main()

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
        page = tmp_path / "scopes.md"
        if stale:
            page.write_text(stale)
        monkeypatch.setattr(script, "PAGE", page)

        assert 1 == script.main()
        assert "make gen" in capsys.readouterr().err
