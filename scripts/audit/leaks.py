"""Whether a secret stands in the tree, or did in its history.

detect-secrets looks at every file that git knows or would take, and at every line that any commit
added. What was looked at by somebody and is none is in `reviewed_secrets.toml`, by where it is and
a hash of it. Nothing is sent anywhere to see whether it is valid.
"""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import default_settings, get_settings

from scripts.audit.locked import REPOSITORY
from scripts.audit.outcome import Outcome, Verdict

CHECK = "secrets"
REVIEWED = Path(__file__).parent / "reviewed_secrets.toml"
EXCLUDED = re.compile(r"requirements/.*\.txt|.*_pb2(_grpc)?\.pyi?|.*\.png|.*reviewed_secrets\.toml")
"""Hashes, generated code, pictures, and the list itself."""

PRIVATE_KEY = "Private Key"

_ASKS_OTHERS = "detect_secrets.filters.common.is_ignored_due_to_verification_policies"
_COMMIT = "commit "
_FILE = "+++ b/"

Line = tuple[str, str]
"""A kind of file, by its suffix, and what stands in the line."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Find:
    """What looks like a secret.

    Attributes:
        path: In which file.
        kind: What detect-secrets takes it for.
        digest: Its hash; that of a private key is of its first line, and says nothing of it.
        place: Where exactly, for people: a line, or a commit.

    """

    path: str
    kind: str
    digest: str
    place: str

    @property
    def entry(self) -> str:
        """How the list of reviewed ones names it."""
        return f"{self.path}: {self.kind}: {self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """What is known to be no secret: in one place, or by its value in any."""

    entries: frozenset[str]
    placeholders: frozenset[str]

    @classmethod
    def read(cls, file: Path = REVIEWED) -> "Reviewed":
        """Read the list."""
        known = tomllib.loads(file.read_text(encoding="utf-8"))
        return cls(
            entries=frozenset(entry for group in known["reviewed"] for entry in group["secrets"]),
            placeholders=frozenset(known["placeholders"]),
        )

    def knows(self, find: Find) -> bool:
        """Return whether somebody has looked at it."""
        # A private key is known by its first line alone, which is the same for all of them.
        stands_for_one = find.digest in self.placeholders and find.kind != PRIVATE_KEY
        return stands_for_one or find.entry in self.entries


def check(root: Path = REPOSITORY, reviewed: Path = REVIEWED) -> Outcome:
    """Look at the tree and its history."""
    try:
        files = _files(root)
        history = _history(root, files)
        cut_off = _git(root, "rev-parse", "--is-shallow-repository").strip() == "true"
    except (OSError, subprocess.CalledProcessError) as error:
        return _not_checked("git does not tell the files and their history", str(error))
    known = Reviewed.read(reviewed)
    finds = sorted({*_in_files(root, files), *_in_history(history)})
    new = tuple(f"{each.place}: {each.entry}" for each in finds if not known.knows(each))
    if new:
        return Outcome(
            check=CHECK,
            verdict=Verdict.FOUND,
            summary=f"{len(new)} that nobody reviewed; what is none goes into {REVIEWED.name}",
            details=new,
        )
    if cut_off:
        return _not_checked("the history is cut off", "git fetch --unshallow gets the rest")
    return Outcome(
        check=CHECK,
        verdict=Verdict.CLEAN,
        summary=f"none in {len(files)} files and {len(history)} more lines of the history; "
        f"{len(finds)} finds were reviewed",
    )


def _not_checked(why: str, detail: str) -> Outcome:
    return Outcome(
        check=CHECK,
        verdict=Verdict.NOT_CHECKED,
        summary=f"NOT CHECKED: {why}",
        details=(detail,),
    )


def _files(root: Path) -> list[str]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return sorted(
        name
        for name in {*listed.split("\0")}
        if name and not EXCLUDED.fullmatch(name) and (root / name).is_file()
    )


def _in_files(root: Path, files: list[str]) -> Iterator[Find]:
    with _detectors():
        for name in files:
            for found in scan_file(str(root / name)):
                yield Find(
                    path=name,
                    kind=found.type,
                    digest=found.secret_hash,
                    place=f"line {found.line_number}",
                )


def _history(root: Path, files: list[str]) -> dict[Line, tuple[str, str]]:
    """Return the lines that are in no file any more, each with a path and commit it was in."""
    present: set[Line] = {
        (Path(name).suffix, line)
        for name in files
        for line in (root / name).read_text(encoding="utf-8", errors="replace").splitlines()
    }
    lines: dict[Line, tuple[str, str]] = {}
    commit = path = ""
    log = _git(
        root, "log", "--all", "--patch", "-U0", "--no-color", "--no-ext-diff", "--format=commit %H"
    )
    for line in log.splitlines():
        if line.startswith(_COMMIT):
            commit = line.removeprefix(_COMMIT)
        elif line.startswith("+++ "):
            path = line.removeprefix(_FILE)
        elif line.startswith("+") and not EXCLUDED.fullmatch(path):
            added = (Path(path).suffix, line[1:])
            if added not in present:
                lines.setdefault(added, (path, commit))
    return lines


def _in_history(history: dict[Line, tuple[str, str]]) -> Iterator[Find]:
    """Put the lines into one file of each kind: what counts as a secret depends on it."""
    by_suffix: dict[str, list[Line]] = {}
    for line in history:
        by_suffix.setdefault(line[0], []).append(line)
    with TemporaryDirectory() as folder, _detectors():
        for suffix, lines in by_suffix.items():
            file = Path(folder) / f"history{suffix}"
            file.write_text("".join(f"{text}\n" for _, text in lines), encoding="utf-8")
            for found in scan_file(str(file)):
                path, commit = history[lines[found.line_number - 1]]
                yield Find(
                    path=path,
                    kind=found.type,
                    digest=found.secret_hash,
                    place=f"commit {commit[:12]}",
                )


@contextmanager
def _detectors() -> Iterator[None]:
    with default_settings():
        get_settings().disable_filters(_ASKS_OTHERS)
        yield


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    return done.stdout.decode("utf-8", errors="replace")
