"""`mainstay doctor` where no suite runs."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.layout import Layout
from cli.main import app


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point at ports where nothing is."""
    for name, value in Layout.on_free_ports().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MAINSTAY_REDIS_URL", raising=False)
    monkeypatch.delenv("MAINSTAY_POSTGRES_URL", raising=False)


async def doctor(data_dir: Path) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    arguments = ["doctor", "--data-dir", str(data_dir)]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


class TestAdvice:
    async def test_is_given_once_and_fits(self, tmp_path: Path) -> None:
        """Parts that have the same trouble share a hint, and no line is wider than 80 columns."""
        result = await doctor(tmp_path)
        text = " ".join(result.output.split())

        assert result.exit_code == 1
        assert text.count("if it runs, its logs say more") == 1
        assert "redis: run `mainstay up`, or set MAINSTAY_REDIS_URL" in text
        assert max(len(line.rstrip()) for line in result.output.splitlines()) <= 80

    @pytest.mark.parametrize("name", ["MAINSTAY_REDIS_URL", "MAINSTAY_POSTGRES_URL"])
    @pytest.mark.parametrize("password", ["s3cr/et", "s3cr#et", "4711/s3cr"])
    async def test_on_a_url_shows_no_part_of_it(
        self, name: str, password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A password with a character that has a meaning in URLs appears nowhere."""
        scheme = "redis" if "REDIS" in name else "postgresql"
        monkeypatch.setenv(name, f"{scheme}://user:{password}@127.0.0.1:1/0")
        result = await doctor(tmp_path)

        assert result.exit_code in {1, 2}
        assert name in result.output
        assert "%-escapes" in result.output
        assert "s3cr" not in result.output
        assert "4711" not in result.output
