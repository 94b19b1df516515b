"""Jobs in the words of people."""

from datetime import datetime, timedelta

from cli.wording import length, size
from mainstay.jobs import Failure, Job, JobState, JsonValue, Rollback, StepKind, Wait
from mainstay.jobs.json_text import encode

_SOON = timedelta(seconds=1)
# Of a payload or a result a person wants to see what it is; programs read --json.
_SHOWN = 300

_WAITS = {
    StepKind.EVENT: "the event",
    StepKind.SIGNAL: "the signal",
    StepKind.INVOKE: "the job",
}
_STATE_WORDS = {
    JobState.DEAD_LETTERED: "dead letter",
    JobState.ROLLING_BACK: "rolling back",
    JobState.UNKNOWN: "in a state that is newer than this command",
}


def line(text: str) -> str:
    """Return what somebody's code said as a line that a terminal may be given."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago something was."""
    return "just now" if now - moment < _SOON else f"{length(now - moment)} ago"


def until(moment: datetime, now: datetime) -> str:
    """Return how long something will be."""
    return "now" if moment - now < _SOON else f"in {length(moment - now)}"


def state_words(job: Job) -> str:
    """Return where a job stands in a word or two, for a column."""
    words = _STATE_WORDS.get(job.state, job.state.value)
    if job.state is JobState.RUNNING and job.progress is not None:
        return f"{words} {job.progress.fraction:.0%}"
    if job.state is JobState.RETRYING:
        return f"{words} {job.attempt}/{job.max_attempts}"
    return words


def standing(job: Job, now: datetime) -> str:
    """Return where a job stands, why, and what comes next."""
    match job.state:
        case JobState.QUEUED:
            parts = ["queued", _due(job, now)]
        case JobState.RUNNING:
            parts = [f"running{_at(job)}", _attempt(job), _progress(job), _ending(job)]
        case JobState.RETRYING:
            parts = [f"retrying after {_attempt(job)}{_why(job.failure)}", _due(job, now)]
        case JobState.WAITING:
            parts = [_waiting(job, now)]
        case JobState.ROLLING_BACK:
            parts = [_rolling_back(job), _due(job, now)]
        case JobState.DEAD_LETTERED:
            parts = [f"dead letter after {_attempt(job)}{_why(job.failure)}", _stuck(job.rollback)]
        case JobState.CANCELLED:
            parts = [_cancelled(job)]
        case _:
            parts = [state_words(job)]
    return ", ".join(part for part in parts if part)


def _at(job: Job) -> str:
    return f" at {line(job.worker)}" if job.worker else ""


def _attempt(job: Job) -> str:
    return f"attempt {job.attempt} of {job.max_attempts}"


def _why(failure: Failure | None) -> str:
    return f": {failure_words(failure)}" if failure else ""


def failure_words(failure: Failure) -> str:
    """Return why an attempt failed."""
    said = (
        f"{line(failure.kind)}: {line(failure.message)}" if failure.message else line(failure.kind)
    )
    return f"{said} (no retry can help)" if failure.permanent else said


def _progress(job: Job) -> str:
    if job.progress is None:
        return ""
    said = line(job.progress.message)
    return f"{job.progress.fraction:.0%}{f': {said}' if said else ''}"


def _ending(job: Job) -> str:
    return "is being cancelled" if job.cancellation else ""


def _cancelled(job: Job) -> str:
    reason = line(job.cancellation.reason) if job.cancellation else ""
    return f"cancelled: {reason}" if reason else "cancelled"


def _due(job: Job, now: datetime) -> str:
    if job.ready_time is None or job.worker:
        return ""
    if job.ready_time - now < _SOON:
        return "waits for a worker"
    return f"due {until(job.ready_time, now)}"


def _waiting(job: Job, now: datetime) -> str:
    if not job.waits or job.ready_time is not None:
        return "goes on as soon as a worker takes it"
    return "; ".join(wait_words(wait, now) for wait in job.waits)


def wait_words(wait: Wait, now: datetime) -> str:
    """Return what a step waits for, and how long."""
    if wait.kind is StepKind.SLEEP:
        return f"{line(wait.key)} sleeps{_until_due(wait, now, 'ends')}"
    what = f"{_WAITS.get(wait.kind, wait.kind.value)} {line(wait.subject)}".rstrip()
    return f"{line(wait.key)} waits for {what}{_until_due(wait, now, 'gives up')}"


def _until_due(wait: Wait, now: datetime, verb: str) -> str:
    return "" if wait.due_time is None else f", {verb} {until(wait.due_time, now)}"


def _rolling_back(job: Job) -> str:
    rollback = job.rollback
    if rollback is None:
        return "rolling back"
    outcome = "cancelled" if rollback.outcome is JobState.CANCELLED else "a dead letter"
    turn = f"turn {rollback.attempt} of {rollback.max_attempts}"
    return f"rolling back to become {outcome}{_at(job)}, {turn}{_why(rollback.failure)}"


def _stuck(rollback: Rollback | None) -> str:
    if rollback is None or rollback.failure is None:
        return ""
    return f"undoing got stuck{_why(rollback.failure)}"


def brief(value: JsonValue, most: int = _SHOWN) -> str:
    """Return JSON, or its beginning and how much there is."""
    text = encode(value)
    if len(text) <= most:
        return line(text)
    return f"{line(text[:most])}… ({size(len(text.encode()))}, --json shows all)"


def beginning(text: str, most: int) -> str:
    """Return a text, or as much of it as a table has room for."""
    return text if len(text) <= most else f"{text[:most]}… (show tells all)"
