"""Fails when a document names a command, a make target or a file that does not exist."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "sdk/README.md", "examples/README.md"]
DOCUMENTS += [f"services/{name}/README.md" for name in ("cache", "ratelimit", "jobs", "health")]
DOCUMENTS += [
    f"docs/{name}.md"
    for name in (
        "backup",
        "data",
        "deployment",
        "errors",
        "faults",
        "kubernetes",
        "load-balancers",
        "observability",
        "scopes",
        "status-page",
        "webhooks",
    )
]


def mistakes(document: Path, targets: set[str], commands: set[str]) -> Iterator[str]:
    """Yield what the document names and the repository does not have."""
    text = document.read_text(encoding="utf-8")
    code = "\n".join(
        re.findall(r"`([^`\n]+)`", text) + re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    )
    for target in re.findall(r"\bmake ([a-z-]+)", code):
        if target not in targets:
            yield f"make {target}: no such target"
    for command in re.findall(r"\bmainstay ([a-z]+)", code):
        if command not in commands:
            yield f"mainstay {command}: no such command"
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not (document.parent / link).exists():
            yield f"{link}: no such file"


def main() -> int:
    """Print the mistakes of all documents; return 1 if there are any."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    shown = subprocess.run(
        [Path(sys.executable).parent / "mainstay", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"},
    ).stdout
    commands = set(re.findall(r"^[│|\s]+([a-z]+)\s{2,}\S", shown, re.MULTILINE))
    found = [
        f"{name}: {mistake}"
        for name in DOCUMENTS
        for mistake in mistakes(REPOSITORY / name, targets, commands)
    ]
    sys.stderr.write("".join(f"{line}\n" for line in found))
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
