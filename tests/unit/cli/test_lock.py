"""Locks that name their holder and end with it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.lock import holder, open_lock, sign, try_lock


@pytest.fixture
def two_descriptors(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Open one lock twice, as two processes would."""
    path = tmp_path / "locks" / "suite"
    first, second = open_lock(path), open_lock(path)
    yield first, second
    os.close(second)


class TestLock:
    def test_only_one_has_it(self, two_descriptors: tuple[int, int]) -> None:
        """Whoever comes second does not get it, and gets it once the first is gone."""
        first, second = two_descriptors
        taken = [try_lock(first), try_lock(second)]
        os.close(first)

        assert taken == [True, False]
        assert try_lock(second)

    def test_names_its_holder(self, two_descriptors: tuple[int, int]) -> None:
        """Whoever comes second learns which process has it."""
        first, second = two_descriptors
        sign(first)

        assert os.getpid() == holder(second)
        os.close(first)

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("", id="nobody signed"),
            pytest.param("what is this", id="not a signature"),
            pytest.param(f"{os.getpid()} 1", id="a number that belongs to a later process now"),
            pytest.param("4194305 1", id="a process that is gone"),
        ],
    )
    def test_names_nobody_rather_than_a_stranger(
        self, two_descriptors: tuple[int, int], text: str
    ) -> None:
        """A pid that cannot be the signer's is not returned: it would be killed."""
        first, second = two_descriptors
        os.write(first, text.encode())

        assert holder(second) is None
        os.close(first)
