"""Documents that would take too long to walk, or too much room to complain about."""

import pytest

from mainstay.errors import ConfigurationError
from shared.policy_file import MAX_ITEMS, MAX_MISTAKES, Mistake, PolicyReader


class TestBounds:
    def test_a_document_that_is_nested_too_deeply_is_refused(self) -> None:
        """It is no fault of the reader's."""
        reader = PolicyReader()
        root = reader.document("[" * 50_000)

        assert (None, [Mistake(1, "", "the file is nested too deeply to be a policy")]) == (
            root,
            reader.mistakes,
        )

    def test_aliases_that_stand_for_too_much_are_refused(self) -> None:
        """A few lines may say what would take days to walk."""
        aliases = ", ".join(["*a"] * 1_000)
        reader = PolicyReader()
        root = reader.document(f"a: &a [{', '.join('x' * 1_000)}]\nb: [{aliases}]\n")
        parts = reader.fields(root, "")
        walked = sum(len(reader.items(item, "b[]")) for item in reader.items(parts["b"], "b"))

        assert (True, 1) == (walked <= MAX_ITEMS, len(reader.mistakes))
        assert "is one too many" in reader.mistakes[0].what

    def test_a_message_tells_so_many_mistakes_and_how_many_more(self) -> None:
        """In the order of their lines."""
        reader = PolicyReader()
        root = reader.document("\n".join(f"k{n}: v" for n in range(MAX_MISTAKES + 3)))
        reader.fields(root, "", required=("k1000",), optional=("x",))
        with pytest.raises(ConfigurationError) as caught:
            reader.check("policy", "a.yaml")

        lines = caught.value.message.splitlines()
        assert (MAX_MISTAKES + 2, "  and 4 more") == (len(lines), lines[-1])
        assert "  line 1: k0 is not known here; known are k1000, x" == lines[1]
