"""Everything the services run on comes under a licence that somebody has read."""

from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from scripts.audit import licences
from scripts.audit.licences import Licences
from scripts.audit.locked import requirements
from scripts.audit.outcome import Verdict

KNOWN = Licences.read()


class Package(Distribution):
    """A package that says this and that of its licence."""

    def __init__(self, **said: str | list[str]) -> None:
        self._said = Message()
        for name, values in said.items():
            for value in [values] if isinstance(values, str) else values:
                self._said[name.replace("_", "-")] = value

    def read_text(self, filename: str) -> str | None:
        """Return the metadata."""
        return self._said.as_string() if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        """Return where a file is: nowhere."""
        raise NotImplementedError


class TestTheRuntime:
    def test_has_allowed_licences_only(self) -> None:
        """Whoever adds a package has looked under which one it comes."""
        outcome = licences.check(KNOWN, licences.installed())

        assert () == outcome.details
        assert Verdict.CLEAN == outcome.verdict

    def test_is_looked_at_as_a_whole(self) -> None:
        """Every locked package that this platform needs has a licence in the result."""
        found, missing = licences.by_package(KNOWN, licences.installed())

        assert [] == missing
        assert {each.name for each in requirements() if each.needed_here} <= set(found)
        assert "Apache-2.0" == found["grpcio"]

    def test_what_is_missing_is_no_licence(self) -> None:
        """A package that cannot be looked at fails the check."""
        packages = licences.installed()
        del packages["grpcio"]

        outcome = licences.check(KNOWN, packages)

        assert Verdict.FOUND == outcome.verdict
        assert "grpcio" in outcome.details[0]


class TestALicence:
    @pytest.mark.parametrize(
        ("package", "expression"),
        [
            (Package(License_Expression="MIT", License="something"), "MIT"),
            (Package(License="Apache License 2.0"), "Apache-2.0"),
            (Package(Classifier="License :: OSI Approved :: BSD License"), "BSD-3-Clause"),
            (
                Package(License="Copyright 2020 ...", Classifier="License :: X :: MIT License"),
                "MIT",
            ),
            (
                Package(Classifier=["License :: X :: MIT License", "License :: Y :: Odd License"]),
                "MIT AND Odd License",
            ),
            (Package(Classifier="Topic :: Internet"), ""),
        ],
    )
    def test_is_taken_from_what_the_package_says(
        self, package: Distribution, expression: str
    ) -> None:
        """Its expression, else the field, else the classifiers."""
        assert expression == KNOWN.expression(package)

    @pytest.mark.parametrize(
        ("expression", "unknown"),
        [
            ("MIT", []),
            ("MPL-2.0 AND (Apache-2.0 OR MIT)", []),
            ("GPL-3.0-only", ["GPL-3.0-only"]),
            ("MIT OR AGPL-3.0-or-later", ["AGPL-3.0-or-later"]),
            ("MIT AND Odd License", ["Odd", "License"]),
            ("", ["nothing"]),
        ],
    )
    def test_that_nobody_allowed_is_refused(self, expression: str, unknown: list[str]) -> None:
        """And so is none at all."""
        assert unknown == KNOWN.unknown(expression)
