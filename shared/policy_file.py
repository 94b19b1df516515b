"""Files that operators edit: accepted whole, or refused whole with every mistake and its line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mainstay.errors import ConfigurationError

MAX_ITEMS = 100_000
"""Fields and items that are looked at, one that several aliases name as often as they do."""
MAX_MISTAKES = 100
"""Mistakes that a message tells."""


class Mistake(NamedTuple):
    """What is wrong, in which field, and at which line of the document, counted from 1.

    What is wrong with the document as a whole has no field.
    """

    line: int
    field: str
    what: str

    def __str__(self) -> str:
        """Say it as operators read it."""
        return f"line {self.line}: {f'{self.field} {self.what}'.lstrip()}"


WAY_OUT = "create it, or point MAINSTAY_POLICIES_DIR to the folder that holds it"


def read_policy_text(path: Path, what: str, way_out: str = WAY_OUT) -> str:
    """Return the text of a file.

    `what` it is, such as `cache policy`, and the `way_out` where it is missing, are for messages.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the {what} {path} cannot be read: {error.strerror}; {way_out}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the {what} {path} is not UTF-8 text; save it as such") from error


class PolicyReader:
    """Walks the nodes of a YAML document, which know their lines, and gathers the mistakes.

    What reads a part notes its mistakes and returns any value of the type: it is never used then.
    """

    def __init__(self) -> None:
        self._mistakes: list[Mistake] = []
        self._seen = 0

    @property
    def mistakes(self) -> Sequence[Mistake]:
        """Return what was noted, in the order of the lines."""
        return sorted(self._mistakes)

    def document(self, text: str) -> yaml.Node | None:
        """Return the root of the document, or None for one that is empty or no YAML."""
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            self._mistakes.append(_syntax_mistake(error))
        except RecursionError:
            self._mistakes.append(Mistake(1, "", "the file is nested too deeply to be a policy"))
        return None

    def fields(
        self,
        node: yaml.Node | None,
        path: str,
        *,
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
    ) -> dict[str, yaml.Node]:
        """Return the fields of a mapping; of any name when none is required."""
        fields: dict[str, yaml.Node] = {}
        if not isinstance(node, yaml.MappingNode):
            self.note(node, path or "the file", "is not a mapping of names to values")
            return fields
        known = (*required, *optional)
        for key, value in self._within_bounds(node, path):
            name = self.text(key)[:80]
            field = f"{path}.{name}".lstrip(".")
            if name in fields:
                self.note(key, field, "is written twice; keep one")
            elif known and name not in known:
                self.note(key, field, f"is not known here; known are {', '.join(known)}")
            else:
                fields[name] = value
        for name in required:
            if name not in fields:
                self.note(node, f"{path}.{name}".lstrip("."), "is missing")
        return fields

    def items(self, node: yaml.Node, path: str) -> Sequence[yaml.Node]:
        """Return the items of a list that has some."""
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.note(node, path, "is not a list with at least one item")
            return ()
        items: Sequence[yaml.Node] = self._within_bounds(node, path)
        return items

    def _within_bounds(self, node: yaml.CollectionNode, path: str) -> Sequence[Any]:
        """Return what a node holds, unless all that was looked at is too much.

        Aliases of lists of aliases say in a few lines what would take days to walk.
        """
        self._seen += len(node.value)
        if self._seen <= MAX_ITEMS:
            items: Sequence[Any] = node.value
            return items
        if self._seen - len(node.value) <= MAX_ITEMS:  # what comes after it says nothing new
            self.note(node, path or "the file", f"is one too many; write at most {MAX_ITEMS:,}")
        return ()

    @staticmethod
    def text(node: yaml.Node) -> str:
        """Return a scalar as it is written; empty for anything else."""
        return str(node.value) if isinstance(node, yaml.ScalarNode) else ""

    def note(self, node: yaml.Node | None, path: str, what: str) -> None:
        """Note a mistake in the field `path`, at the node's line."""
        line = node.start_mark.line + 1 if node is not None else 1
        mistake = Mistake(line, path, what)
        # A document that is no YAML is one mistake, not also a missing mapping.
        if node is not None or not self._mistakes:
            self._mistakes.append(mistake)

    def check(self, what: str, source: str) -> None:
        """Raise ConfigurationError with all that was noted, one mistake a line, if there is any."""
        if self._mistakes:
            lines = "".join(f"\n  {mistake}" for mistake in self.mistakes[:MAX_MISTAKES])
            more = len(self._mistakes) - MAX_MISTAKES
            rest = f"\n  and {more:,} more" if more > 0 else ""
            raise ConfigurationError(f"the {what} {source} is refused:{lines}{rest}")


def _syntax_mistake(error: yaml.YAMLError) -> Mistake:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return Mistake(error.problem_mark.line + 1, "", f"the file is not YAML: {error.problem}")
    return Mistake(1, "", f"the file is not YAML: {error}")
