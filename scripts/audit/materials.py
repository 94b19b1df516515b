"""The bill of materials: every package the services run on, with its hashes and licence."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts.audit.locked import REPOSITORY, RUNTIME
from scripts.audit.outcome import Outcome, Verdict

CHECK = "materials"
FILE = REPOSITORY / "dist" / "mainstay.cdx.json"


def check(licences: Mapping[str, str], file: Path = FILE) -> Outcome:
    """Write the bill of materials, in CycloneDX 1.6."""
    bill = _bill()
    for component in bill["components"]:
        # The line of the requirements: what is in it stands beside it.
        component.pop("description", None)
        if licence := licences.get(component["name"]):
            component["licenses"] = [{"expression": licence}]
    text = json.dumps(bill, indent=2) + "\n"
    if mistakes := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        return Outcome(
            check=CHECK,
            verdict=Verdict.FOUND,
            summary="would not be CycloneDX 1.6",
            details=(str(mistakes)[:500],),
        )
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return Outcome(
        check=CHECK,
        verdict=Verdict.CLEAN,
        summary=f"{len(bill['components'])} components, in {file.relative_to(REPOSITORY)}",
    )


def _bill() -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "requirements", "--spec-version", "1.6"),
            *("--pyproject", "pyproject.toml", "--output-reproducible", str(RUNTIME)),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill
