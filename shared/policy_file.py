"""Files that operators edit: accepted whole, or refused whole with every mistake and its line."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from mainstay.errors import ConfigurationError


def read_policy_text(path: Path, what: str) -> str:
    """Return the text of a file; `what` it is, such as `cache policy`, is for the message."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the {what} {path} cannot be read: {error.strerror}; create it, or point "
            "MAINSTAY_POLICIES_DIR to the folder that holds it"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the {what} {path} is not UTF-8 text; save it as such") from error


class PolicyReader:
    """Walks the nodes of a YAML document, which know their lines, and gathers the mistakes.

    What reads a part notes its mistakes and returns any value of the type: it is never used then.
    """

    def __init__(self) -> None:
        self._mistakes: list[tuple[int, str]] = []

    def document(self, text: str) -> yaml.Node | None:
        """Return the root of the document, or None for one that is empty or no YAML."""
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            self._mistakes.append(_syntax_mistake(error))
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
        for key, value in node.value:
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
        items: Sequence[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else ()
        if not items:
            self.note(node, path, "is not a list with at least one item")
        return items

    @staticmethod
    def text(node: yaml.Node) -> str:
        """Return a scalar as it is written; empty for anything else."""
        return str(node.value) if isinstance(node, yaml.ScalarNode) else ""

    def note(self, node: yaml.Node | None, path: str, what: str) -> None:
        """Note a mistake in the field `path`, at the node's line."""
        line = node.start_mark.line + 1 if node is not None else 1
        mistake = (line, f"{path} {what}")
        # A document that is no YAML is one mistake, not also a missing mapping.
        if node is not None or not self._mistakes:
            self._mistakes.append(mistake)

    def check(self, what: str, source: str) -> None:
        """Raise ConfigurationError with all that was noted, one mistake a line, if there is any."""
        if self._mistakes:
            lines = "".join(f"\n  line {line}: {text}" for line, text in sorted(self._mistakes))
            raise ConfigurationError(f"the {what} {source} is refused:{lines}")


def _syntax_mistake(error: yaml.YAMLError) -> tuple[int, str]:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return error.problem_mark.line + 1, f"the file is not YAML: {error.problem}"
    return 1, f"the file is not YAML: {error}"
