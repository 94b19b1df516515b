"""Looks at what the suite is made of: `make audit`.

Ends with 0 when all is well, 1 when something was found, 3 when nothing was found and something
could not be looked at.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.audit import leaks, licences, materials, vulnerabilities
from scripts.audit.locked import REPOSITORY
from scripts.audit.outcome import Outcome, Verdict

MARKS = {Verdict.CLEAN: "ok", Verdict.FOUND: "FOUND", Verdict.NOT_CHECKED: "?"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, and say what was found."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument(
        "--offline", action="store_true", help="leave the advisories out, on purpose"
    )
    parser.add_argument("--osv-url", help="an advisory service of yours that speaks OSV's protocol")
    chosen = parser.parse_args(arguments)
    verdicts = [_told(each) for each in _checks(osv_url=chosen.osv_url, offline=chosen.offline)]
    return int(Verdict.FOUND if Verdict.FOUND in verdicts else max(verdicts))


def _checks(*, osv_url: str | None, offline: bool) -> Iterator[Outcome]:
    known = licences.Licences.read()
    (folder,) = (REPOSITORY / ".venv" / "lib").glob("python3*/site-packages")
    packages = licences.installed(Path(folder))
    yield vulnerabilities.skipped() if offline else vulnerabilities.check(osv_url)
    yield materials.check(licences.by_package(known, packages)[0])
    yield licences.check(known, packages)
    yield leaks.check()


def _told(outcome: Outcome) -> Verdict:
    print(f"{MARKS[outcome.verdict]:<6} {outcome.check:<16} {outcome.summary}", flush=True)
    for line in outcome.details:
        print(f"{'':23} {line}", flush=True)
    return outcome.verdict


if __name__ == "__main__":
    sys.exit(main())
