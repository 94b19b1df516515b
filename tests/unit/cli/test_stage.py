"""What the demo prints, and when its verdict is good."""

import io

import pytest
from rich.console import Console

from cli.demo.stage import Stage
from mainstay.context import RequestContext
from mainstay.errors import DatabaseError

REQUEST = RequestContext(request_id="01990000-0000-7000-8000-00009f3ab2c1")


@pytest.fixture
def output() -> io.StringIO:
    """Collect what a terminal without colours would show."""
    return io.StringIO()


@pytest.fixture
def stage(output: io.StringIO) -> Stage:
    """Set up a stage of 80 columns."""
    return Stage(Console(file=output, width=80))


def fail() -> None:
    """Fail as a service does that has lost its database."""
    raise DatabaseError("the database is gone")


class TestVerdict:
    def test_is_good_when_every_claim_held(self, stage: Stage) -> None:
        """All claims of all acts count."""
        for title in ("Limited", "Cached"):
            with stage.act(title, REQUEST):
                stage.claim("the claim", holds=True)

        assert stage.verdict()

    def test_is_bad_when_one_claim_failed(self, stage: Stage) -> None:
        """One claim that does not hold spoils it, wherever it stands."""
        with stage.act("Limited", REQUEST):
            stage.claim("wrong", holds=False)
            stage.claim("right", holds=True)

        assert not stage.verdict()

    def test_is_bad_when_an_act_claimed_nothing(self, stage: Stage) -> None:
        """Silence shows nothing."""
        with stage.act("Limited", REQUEST):
            stage.say("nothing to see")

        assert not stage.verdict()

    def test_is_bad_when_there_was_no_act(self, stage: Stage) -> None:
        """An empty stage shows nothing either."""
        assert not stage.verdict()

    def test_is_bad_when_an_act_could_not_go_on(self, stage: Stage, output: io.StringIO) -> None:
        """A service that fails fails its act, and the next act plays all the same."""
        with stage.act("Limited", REQUEST):
            stage.claim("right", holds=True)
            fail()
        with stage.act("Cached", REQUEST):
            stage.claim("right", holds=True)

        assert not stage.verdict()
        assert "the database is gone" in output.getvalue()


class TestPage:
    def test_fits_80_columns_and_holds_the_request_id(
        self, stage: Stage, output: io.StringIO
    ) -> None:
        """Long claims are broken at spaces; markup in what services said is printed as it is."""
        with stage.act("Limited", REQUEST):
            stage.claim("word " * 40 + "[bold]not markup[/]", holds=True)
        stage.verdict()
        text = output.getvalue()

        assert all(len(line) <= 80 for line in text.splitlines())
        assert "…9f3ab2c1" in text
        assert "[bold]not markup[/]" in text
