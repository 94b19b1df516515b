"""Where a job stands, in the words of `mainstay jobs`."""

from typing import Any

import pytest

from cli.jobs.sentences import ago, brief, line, standing, state_words, until
from cli.jobs.watching import outcome
from mainstay.jobs import (
    Cancellation,
    Failure,
    JobState,
    Progress,
    Rollback,
    Step,
    StepKind,
    Wait,
)
from tests.unit.cli.job_examples import NOW, after, before, job

GONE = Failure(kind="OSError", message="gone", permanent=False)
NO_VIDEO = Failure(kind="NoVideo", message="", permanent=True)
TIRED = Cancellation(reason="too long", rollback=True, request_time=before(seconds=5))
UNDOING = Rollback(outcome=JobState.CANCELLED, attempt=1, max_attempts=3, failure=None)
STUCK = Rollback(outcome=JobState.DEAD_LETTERED, attempt=3, max_attempts=3, failure=GONE)
HALF = Progress(fraction=0.4, message="transcribing")
RUNNING: dict[str, Any] = {"state": JobState.RUNNING, "worker": "w-1", "attempt": 1}


def wait(kind: StepKind, subject: str = "", **due: float) -> Wait:
    """Return a step that waits."""
    return Wait(key="reply", kind=kind, subject=subject, due_time=after(**due) if due else None)


class TestStanding:
    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({}, "queued"),
            ({"ready_time": before(minutes=1)}, "queued, waits for a worker"),
            ({"ready_time": after(minutes=5)}, "queued, due in 5 min"),
            (RUNNING, "running at w-1, attempt 1 of 3"),
            (
                {**RUNNING, "progress": HALF},
                "running at w-1, attempt 1 of 3, 40%: transcribing",
            ),
            (
                {**RUNNING, "cancellation": TIRED},
                "running at w-1, attempt 1 of 3, is being cancelled",
            ),
            (
                {
                    "state": JobState.RETRYING,
                    "attempt": 2,
                    "failure": GONE,
                    "ready_time": after(seconds=12),
                },
                "retrying after attempt 2 of 3: OSError: gone, due in 12 s",
            ),
            (
                {"state": JobState.WAITING, "waits": (wait(StepKind.SLEEP, hours=2),)},
                "reply sleeps, ends in 2 h",
            ),
            (
                {"state": JobState.WAITING, "waits": (wait(StepKind.EVENT, "a/b"),)},
                "reply waits for the event a/b",
            ),
            (
                {
                    "state": JobState.WAITING,
                    "waits": (wait(StepKind.SIGNAL, "ok", days=1), wait(StepKind.INVOKE, "j")),
                },
                "reply waits for the signal ok, gives up in 1 d; reply waits for the job j",
            ),
            (
                {"state": JobState.WAITING, "ready_time": before(seconds=2)},
                "goes on as soon as a worker takes it",
            ),
            (
                {"state": JobState.ROLLING_BACK, "rollback": UNDOING, "worker": "w-1"},
                "rolling back to become cancelled at w-1, turn 1 of 3",
            ),
            (
                {
                    "state": JobState.ROLLING_BACK,
                    "rollback": STUCK,
                    "ready_time": after(seconds=3),
                },
                "rolling back to become a dead letter, turn 3 of 3: OSError: gone, due in 3 s",
            ),
            (
                {"state": JobState.DEAD_LETTERED, "attempt": 3, "failure": GONE},
                "dead letter after attempt 3 of 3: OSError: gone",
            ),
            (
                {
                    "state": JobState.DEAD_LETTERED,
                    "attempt": 1,
                    "failure": NO_VIDEO,
                    "rollback": STUCK,
                },
                (
                    "dead letter after attempt 1 of 3: NoVideo (no retry can help), "
                    "undoing got stuck: OSError: gone"
                ),
            ),
            ({"state": JobState.CANCELLED, "cancellation": TIRED}, "cancelled: too long"),
            ({"state": JobState.DISCARDED}, "discarded"),
            ({"state": JobState.UNKNOWN}, "in a state that is newer than this command"),
        ],
    )
    def test_says_why_and_what_comes_next(self, changed: dict[str, Any], expected: str) -> None:
        """Of every state."""
        assert expected == standing(job(**changed), NOW)


class TestStateWords:
    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({}, "queued"),
            ({**RUNNING, "progress": HALF}, "running 40%"),
            ({"state": JobState.RETRYING, "attempt": 2}, "retrying 2/3"),
            ({"state": JobState.ROLLING_BACK}, "rolling back"),
            ({"state": JobState.DEAD_LETTERED}, "dead letter"),
            ({"state": JobState.SUCCEEDED}, "succeeded"),
        ],
    )
    def test_fit_a_column(self, changed: dict[str, Any], expected: str) -> None:
        """With how far it has come."""
        assert expected == state_words(job(**changed))


class TestOutcomes:
    def test_of_success_tell_how_long_it_took_and_the_result(self) -> None:
        """In one line."""
        done = job(
            state=JobState.SUCCEEDED,
            start_time=before(seconds=90),
            end_time=NOW,
            result={"chunks": 10},
        )

        assert 'succeeded after 1 min 30 s: {"chunks":10}' == outcome(done, NOW)

    def test_on_the_way_count_the_steps(self) -> None:
        """What has finished is not done again."""
        step = Step(key="probe", result=1, attempt=1, end_time=NOW)

        assert outcome(job(**RUNNING, steps=(step,)), NOW).endswith(", attempt 1 of 3, 1 step done")
        assert outcome(job(**RUNNING, steps=(step, step)), NOW).endswith(", 2 steps done")


class TestTimes:
    def test_are_told_from_now(self) -> None:
        """A clock that differs a little makes no time negative."""
        assert ("1 h 2 min ago", "just now", "just now") == (
            ago(before(hours=1, minutes=2, seconds=3), NOW),
            ago(before(seconds=0.5), NOW),
            ago(after(seconds=3), NOW),
        )
        assert ("in 3 d", "now", "now") == (
            until(after(days=3), NOW),
            until(NOW, NOW),
            until(before(seconds=3), NOW),
        )


class TestWhatCodeSaid:
    def test_is_one_line_without_commands_to_the_terminal(self) -> None:
        """A message may have lines, and escapes that would redraw what stands above."""
        assert "a b [31mred c" == line("a\n\tb\x1b[31mred\x07\u2028c")

    def test_is_cut_where_it_is_long(self) -> None:
        """With how much there is, and where all of it is."""
        told = brief({"text": "ü" * 2_000})

        assert told.endswith("ü… (3.9 KiB, --json shows all)")
        assert len(told) < 400
