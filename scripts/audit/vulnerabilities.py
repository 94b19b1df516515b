"""Whether an advisory is known for what the services run on.

pip-audit asks a service on the internet, or one of yours that speaks OSV's protocol. There is no
database that it could look into without one. A package that the service does not know is one that
was not looked at: mirrors of the index often answer like that for all of them.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.audit.locked import REPOSITORY, RUNTIME
from scripts.audit.outcome import Outcome, Verdict

CHECK = "vulnerabilities"
TIMEOUT = 600.0
SHOWN = 3

_FIRST = "not looked at; run it where an advisory service can be reached, or name one by --osv-url"


def check(osv_url: str | None) -> Outcome:
    """Ask for all locked packages."""
    try:
        done = subprocess.run(
            _command(osv_url),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return _not_checked(f"no answer within {TIMEOUT:.0f} s")
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"]
        return _not_checked(said[-1][:300])
    return judge(dependencies)


def judge(dependencies: Sequence[Mapping[str, Any]]) -> Outcome:
    """Return what the answers come to; without one for each package nothing is clean."""
    found = [
        f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version'}"
        for each in dependencies
        for vulnerability in each.get("vulns", ())
    ]
    skipped = [each["name"] for each in dependencies if "skip_reason" in each]
    if found:
        return Outcome(
            check=CHECK,
            verdict=Verdict.FOUND,
            summary=f"{len(found)} known in {len(dependencies)} packages",
            details=tuple(found),
        )
    if skipped or not dependencies:
        some = ", ".join(skipped[:SHOWN]) + (", ..." if len(skipped) > SHOWN else "")
        return _not_checked(
            f"the advisory service does not know {len(skipped)} of {len(dependencies)} packages: "
            f"{some}"
        )
    return Outcome(
        check=CHECK,
        verdict=Verdict.CLEAN,
        summary=f"none known in {len(dependencies)} packages",
    )


def skipped() -> Outcome:
    """Return what there is to say of nothing."""
    return Outcome(check=CHECK, verdict=Verdict.CLEAN, summary="NOT CHECKED, as asked by --offline")


def _not_checked(why: str) -> Outcome:
    return Outcome(
        check=CHECK, verdict=Verdict.NOT_CHECKED, summary=f"NOT CHECKED: {_FIRST}", details=(why,)
    )


def _command(osv_url: str | None) -> list[str]:
    service = ["--vulnerability-service", "osv", "--osv-url", osv_url] if osv_url else []
    return [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(RUNTIME)),
        *("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"),
        *service,
    ]
