"""Operators edit the policy file while the service runs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mainstay.errors import ConfigurationError
from services.cache.metrics import policy_broken
from services.cache.policies import PolicyFile

MINUTE = 60_000


def text_of(ttl: str) -> str:
    return f"default: a\nclasses:\n  a: {{ttl: {ttl}}}\n"


class Reports:
    """What the operations port would show."""

    def __init__(self) -> None:
        self.problems: list[str | None] = []

    def __call__(self, problem: str | None) -> None:
        self.problems.append(problem)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a policy file."""
    path = tmp_path / "cache.yaml"
    path.write_text(text_of("5m"))
    return path


@pytest.fixture
def reports() -> Reports:
    """Listen to what is reported."""
    return Reports()


@pytest.fixture
def policies(path: Path, reports: Reports) -> PolicyFile:
    """Load it."""
    return PolicyFile(path, report=reports)


async def settle(policies: PolicyFile) -> int | None:
    """Look twice; return the lifetime that is in force then."""
    await policies.run_once()
    await policies.run_once()
    return policies.current.default.ttl_ms


def write(path: Path, text: str) -> None:
    path.write_text(text)


def write_unnoticed(path: Path, text: str) -> None:
    """Leave the time of the file as it was."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path, text: str) -> None:
    """Put another file in its place, as editors do."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


class TestChange:
    @pytest.mark.parametrize("change", [write, replace])
    async def test_is_taken_over(
        self,
        policies: PolicyFile,
        path: Path,
        reports: Reports,
        change: Callable[[Path, str], None],
    ) -> None:
        """Written in place or replaced, without a restart."""
        assert 5 * MINUTE == policies.current.default.ttl_ms

        change(path, text_of("7m"))

        assert 7 * MINUTE == await settle(policies)
        assert [None] == reports.problems

    async def test_behind_links_is_seen(self, tmp_path: Path) -> None:
        """As Kubernetes does it: the file is a link into a directory that a link leads to."""
        for name, ttl in (("one", "5m"), ("two", "7m")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "cache.yaml").write_text(text_of(ttl))
        (tmp_path / "..data").symlink_to("one")
        (tmp_path / "cache.yaml").symlink_to("..data/cache.yaml")
        policies = PolicyFile(tmp_path / "cache.yaml")

        (tmp_path / "..new").symlink_to("two")
        (tmp_path / "..new").replace(tmp_path / "..data")

        assert 7 * MINUTE == await settle(policies)

    async def test_within_one_tick_of_the_file_s_clock_is_seen(
        self, policies: PolicyFile, path: Path
    ) -> None:
        """Of the same length and with the same time as the one before."""
        for ttl in ("6m", "7m", "8m"):
            write_unnoticed(path, text_of(ttl))

            assert int(ttl[0]) * MINUTE == await settle(policies)

    async def test_is_believed_when_it_has_settled(
        self, policies: PolicyFile, path: Path, reports: Reports
    ) -> None:
        """A file that is half written may read like a policy that lacks some classes."""
        write(path, text_of("7m"))
        await policies.run_once()
        write(path, text_of("7m") + "  b: {ttl: 1")
        await policies.run_once()
        write(path, text_of("7m") + "  b: {ttl: 1m}\n")
        await policies.run_once()

        assert ["a"] == list(policies.current.classes)
        assert ["a", "b"] == await classes(policies)
        assert [None] == reports.problems

    async def test_that_is_none_does_nothing(self, policies: PolicyFile, reports: Reports) -> None:
        """The same object stays in force for as long as the file says the same."""
        before = policies.current

        await settle(policies)

        assert before is policies.current
        assert [] == reports.problems


async def classes(policies: PolicyFile) -> list[str]:
    await settle(policies)
    return list(policies.current.classes)


class TestBrokenFile:
    @pytest.mark.parametrize(
        ("breaks", "said"),
        [
            (lambda path: path.write_text(text_of("7")), "line 3: classes.a.ttl is '7'"),
            (lambda path: path.write_text(""), "the file is not a mapping"),
            (lambda path: path.write_bytes(b"\xff\xfe"), "is not UTF-8"),
            (Path.unlink, "No such file"),
            (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
        ],
    )
    async def test_keeps_the_old_policy_and_says_so(
        self,
        policies: PolicyFile,
        path: Path,
        reports: Reports,
        breaks: Callable[[Path], object],
        said: str,
    ) -> None:
        """In the log once, in the metric, at the operations port and to those who list classes."""
        breaks(path)
        with capture_logs() as lines:
            for _ in range(3):
                await settle(policies)

        assert 5 * MINUTE == policies.current.default.ttl_ms
        assert said in policies.problem
        assert [policies.problem] == reports.problems
        assert ["policy_refused"] == [line["event"] for line in lines]
        assert 1 == policy_broken._value.get()

    async def test_is_said_again_when_it_is_broken_otherwise(
        self, policies: PolicyFile, path: Path, reports: Reports
    ) -> None:
        """Whoever corrects one mistake learns of the next."""
        write(path, text_of("7"))
        await settle(policies)
        write(path, text_of("8"))
        await settle(policies)

        first, second = map(str, reports.problems)
        assert ("'7'" in first, "'8'" in second) == (True, True)

    @pytest.mark.parametrize("ttl", ["5m", "9m"])
    async def test_is_over_when_it_is_corrected(
        self, policies: PolicyFile, path: Path, reports: Reports, ttl: str
    ) -> None:
        """Also when the correction is to undo it."""
        write(path, "{")
        await settle(policies)
        write(path, text_of(ttl))

        assert int(ttl[0]) * MINUTE == await settle(policies)
        assert "" == policies.problem
        assert reports.problems[-1] is None
        assert 0 == policy_broken._value.get()

    def test_at_the_start_is_refused(self, path: Path) -> None:
        """There is no older policy to go on with."""
        write(path, "{")

        with pytest.raises(ConfigurationError, match=r"cache\.yaml"):
            PolicyFile(path)
