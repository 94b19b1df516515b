"""The file that says how much of the workers each tenant gets."""

from pathlib import Path

import pytest

from mainstay.errors import ConfigurationError
from services.jobs.weights import Weights
from services.jobs.weights_file import WeightsFile, parse_weights

POLICIES = Path(__file__).parents[3] / "policies"
TEXT = """
default: {weight: 1}
tenants:
  acme: {weight: 3}
  globex: {weight: 0.5}
"""


class TestParse:
    def test_weights(self) -> None:
        """Tenants have the weights that are written, others the default."""
        weights = parse_weights(TEXT, "jobs.yaml")

        assert [3.0, 0.5, 1.0] == [weights.of(tenant) for tenant in ("acme", "globex", "other")]

    def test_own_file(self) -> None:
        """The file that comes with the service weighs all alike."""
        assert Weights() == parse_weights((POLICIES / "jobs.yaml").read_text(), "jobs.yaml")

    def test_every_mistake_with_its_line(self) -> None:
        """A file with mistakes is refused whole, with all of them."""
        text = (
            "default: {weight: 0}\n"
            "tenants:\n"
            "  acme: {weight: 1001}\n"
            "  a b: {weight: 1}\n"
            "  globex: {wait: 2}\n"
            "other: 1\n"
        )

        with pytest.raises(ConfigurationError) as caught:
            parse_weights(text, "jobs.yaml")

        assert [
            "the jobs policy jobs.yaml is refused:",
            "  line 1: default.weight is not a number from 0.01 to 1000",
            "  line 3: tenants.acme.weight is not a number from 0.01 to 1000",
            "  line 4: tenants.a b is no tenant; write 1 to 64 of A-Z a-z 0-9 . _ -",
            "  line 5: tenants.globex.wait is not known here; known are weight",
            "  line 5: tenants.globex.weight is missing",
            "  line 6: other is not known here; known are default, tenants",
        ] == caught.value.message.splitlines()


class TestMissing:
    async def test_all_alike(self, tmp_path: Path) -> None:
        """Without the file all tenants weigh the same, until there is one, which holds on."""
        path, told = tmp_path / "jobs.yaml", list[str | None]()
        weights = WeightsFile(path, report=told.append)
        seen = [weights.of("acme")]
        await weights.run_once()
        path.write_text(TEXT)
        for _ in range(2):
            await weights.run_once()
        seen.append(weights.of("acme"))
        path.unlink()
        for _ in range(2):
            await weights.run_once()
        seen.append(weights.of("acme"))

        assert [1.0, 3.0, 3.0] == seen
        assert (None, True) == (told[0], "cannot be read" in (told[1] or ""))


class TestReload:
    async def test_followed(self, tmp_path: Path) -> None:
        """A change is taken over without a restart; one with a mistake is told and left out."""
        path, told = tmp_path / "jobs.yaml", list[str | None]()
        path.write_text(TEXT)
        weights = WeightsFile(path, report=told.append)
        seen = [weights.of("acme")]
        for text in (TEXT.replace("3", "5"), "default: 1"):
            path.write_text(text)
            await weights.run_once()
            await weights.run_once()
            seen.append(weights.of("acme"))

        assert [3.0, 5.0, 5.0] == seen
        assert (None, True) == (told[0], "is refused" in (told[1] or ""))
