"""Under which licences the packages come that the services run on."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from scripts.audit.locked import REPOSITORY, requirements
from scripts.audit.outcome import Outcome, Verdict

ALLOWED = REPOSITORY / "requirements" / "licences.toml"
LONGEST_NAME = 60
"""Some packages put the whole text where the name belongs."""

_WORDS = frozenset({"AND", "OR", "WITH"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Licences:
    """Those that are allowed, and what else they are called."""

    allowed: frozenset[str]
    names: Mapping[str, str]

    @classmethod
    def read(cls, file: Path = ALLOWED) -> "Licences":
        """Read the list."""
        known = tomllib.loads(file.read_text(encoding="utf-8"))
        return cls(allowed=frozenset(known["allowed"]), names=known["names"])

    def expression(self, distribution: Distribution) -> str:
        """Return under what a package comes, as an SPDX expression as far as that is known."""
        metadata = distribution.metadata
        if expression := metadata.get("License-Expression"):
            return str(expression)
        classifiers = [
            each.rpartition(" :: ")[2]
            for each in metadata.get_all("Classifier", [])
            if each.startswith("License ::")
        ]
        text = (metadata.get("License") or "").strip()
        stated = [text] if self._is_known(text) or not classifiers else classifiers
        return " AND ".join(dict.fromkeys(self.names.get(each, each) for each in stated))

    def unknown(self, expression: str) -> list[str]:
        """Return what an expression names that is not allowed; all of an OR have to be."""
        named = [each for each in re.split(r"[\s()]+", expression) if each and each not in _WORDS]
        return [each for each in named if each not in self.allowed] if named else ["nothing"]

    def _is_known(self, text: str) -> bool:
        return bool(text) and not self.unknown(self.names.get(text, text))


def installed(folder: Path | None = None) -> dict[str, Distribution]:
    """Return the packages in a folder, or those of this interpreter, by their names."""
    found = distributions(path=[str(folder)]) if folder else distributions()
    return {_normal(each.metadata["Name"]): each for each in found}


def by_package(
    known: Licences, packages: Mapping[str, Distribution]
) -> tuple[dict[str, str], list[str]]:
    """Return the licence of each package that runs here, and what is locked but not installed."""
    licences, missing = {}, []
    for each in requirements():
        if (distribution := packages.get(_normal(each.name))) is not None:
            licences[each.name] = known.expression(distribution)
        elif each.needed_here:
            missing.append(each.name)
    return licences, missing


def check(known: Licences, packages: Mapping[str, Distribution]) -> Outcome:
    """Compare the licences of the runtime with the list."""
    licences, missing = by_package(known, packages)
    wrong = [
        f"{name}: {expression[:LONGEST_NAME] or 'says nothing'}; not in requirements/licences.toml"
        for name, expression in licences.items()
        if known.unknown(expression)
    ]
    wrong += [f"{name}: is locked, and not installed; run `make test` once" for name in missing]
    named = ", ".join(sorted(_distinct(licences.values())))
    return Outcome(
        check="licences",
        verdict=Verdict.FOUND if wrong else Verdict.CLEAN,
        summary=f"{len(licences)} packages under {named}",
        details=tuple(wrong),
    )


def _distinct(expressions: Iterable[str]) -> set[str]:
    return {each[:LONGEST_NAME] or "nothing" for each in expressions}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
