"""Judges a run by the ledgers, the acknowledgements and what is stored in the end.

An epoch counts the assignments of a job, and a token names it: what was acknowledged in one epoch
must be known in every later one. So no judgement depends on when a worker that was lost in the
meantime, a zombie, did something: it may begin what another has done, in its own, older epoch.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mainstay.jobs import JobState
from tests.faults.jobs_suite.functions import BLOCKED, SAGA
from tests.faults.jobs_suite.ledger import Entry, What
from tests.faults.jobs_suite.load import Sent
from tests.faults.jobs_suite.records import Record, Stored, StoredStep
from tests.faults.jobs_suite.sampler import CAPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was broken, and how."""

    promise: str
    what: str


Facts = Iterable[str]
MAX_CRASHES = 5
"""The default of the service: so many workers lost, and a job is taken for poison."""

LOST = "no acknowledged job is lost"
TWICE = "nothing is accepted twice"
RERUN = "no finished step is run again"
CHANGED = "no recorded result changes"
ASSIGNED = "no assignment is worked on twice"
CAPPED = "no cap is exceeded"
UNDONE = "finished steps are undone in reverse, each acknowledged once"
MISSED = "nothing that a step waits for is missed"
ENDS = "what ends, ends as it should"
PLACES = "a job is in one place"
SAID = "a repeated report changes nothing"
PASSING = "an error that a sender gets passes"
QUIET = "nothing is logged as an error"
PROMISES = (
    LOST,
    TWICE,
    RERUN,
    CHANGED,
    ASSIGNED,
    CAPPED,
    UNDONE,
    MISSED,
    ENDS,
    PLACES,
    SAID,
    PASSING,
    QUIET,
)


def judge(
    accepted: Mapping[str, Sent], stored: Stored, entries: Sequence[Entry]
) -> list[Violation]:
    """Return everything that was broken."""
    turns = _Turns(entries)
    found = {
        LOST: _lost(accepted, stored),
        TWICE: _accepted_twice(stored),
        RERUN: _run_again(entries, turns),
        CHANGED: _changed(stored, entries),
        ASSIGNED: _assigned_twice(stored, entries),
        CAPPED: _caps(turns, stored.records),
        UNDONE: _undone(stored, entries),
        MISSED: _missed(stored),
        ENDS: _ends(accepted, stored),
        PLACES: stored.strays,
    }
    return [Violation(promise=name, what=fact) for name, facts in found.items() for fact in facts]


class _Turns:
    """The lines of each turn at each job, in order."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.lines: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        for entry in entries:
            self.lines[entry.job_id, entry.epoch].append(entry)

    def held(self, job: Record, epoch: int) -> tuple[float, float] | None:
        """Return from when until when the turn provably held its job, if that can be known.

        Until the end of the function, when that ended the job; otherwise until the end of the last
        step that it ran and that was then acknowledged. Not until the acknowledgement: a worker may
        have been frozen before it came to read that.
        """
        lines = self.lines[job.job_id, epoch]
        got = {line.step for line in lines if line.what is What.GOT}
        sure = [line.at for line in lines if line.what is What.END and line.step in got]
        if epoch == job.epoch and job.state is JobState.SUCCEEDED:
            sure += [line.at for line in lines if line.what is What.LEFT]
        return (lines[0].at, sure[-1]) if sure else None


def _lost(accepted: Mapping[str, Sent], stored: Stored) -> Facts:
    blocked = sum(sent.function == BLOCKED for sent in accepted.values())
    if stored.blocked < blocked:
        yield f"{blocked} blocked jobs were accepted, {stored.blocked} wait"
    for job_id, sent in accepted.items():
        if sent.function != BLOCKED and job_id not in stored.records:
            yield f"{sent.function} {job_id} was acknowledged and is nowhere"
    yield from (f"not over: {left}" for left in stored.left)


def _accepted_twice(stored: Stored) -> Facts:
    jobs = Counter((job.tenant, job.function, job.parent, job.data) for job in _all(stored))
    yield from (f"{count} jobs for {job}" for job, count in jobs.items() if count > 1)


def _run_again(entries: Iterable[Entry], turns: _Turns) -> Facts:
    finished: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry.what is What.GOT:
            step = entry.job_id, entry.step
            finished[step] = min(entry.epoch, finished.get(step, entry.epoch))
    begun: Counter[tuple[str, str, int]] = Counter()
    for entry in entries:
        if entry.what is not What.BEGIN:
            continue
        step = entry.job_id, entry.step
        if entry.epoch > finished.get(step, entry.epoch):
            yield f"{_name(entry)} began in epoch {entry.epoch}, known since {finished[step]}"
        begun[*step, entry.epoch] += 1
        if begun[*step, entry.epoch] > 1:
            yield f"{_name(entry)} began twice in epoch {entry.epoch}"
        if turns.lines[entry.job_id, entry.epoch][0].value == "rollback":
            yield f"{_name(entry)} began in a turn that only undoes"


def _changed(stored: Stored, entries: Iterable[Entry]) -> Facts:
    results: dict[tuple[str, str], Any] = {}
    for job in _all(stored):
        results |= {(job.job_id, step.key): _plain(step) for step in job.steps}
        if job.state is JobState.SUCCEEDED:
            expected = {"n": job.n, "steps": {step.key: _plain(step) for step in job.steps}}
            if job.result != expected:
                yield f"{job.function} {job.job_id} has {job.result}, its steps say {expected}"
    for entry in entries:
        if entry.what not in {What.GOT, What.UNDO} or entry.job_id not in stored.records:
            continue
        known = results.setdefault((entry.job_id, entry.step), "nothing")
        if entry.value != known:
            yield f"{_name(entry)} was {entry.value}, stored is {known}"


def _assigned_twice(stored: Stored, entries: Iterable[Entry]) -> Facts:
    seen: set[tuple[str, int]] = set()
    for entry in entries:
        if entry.what is not What.TURN:
            continue
        turn = entry.job_id, entry.epoch
        if turn in seen:
            yield f"{entry.function} {entry.job_id} was begun twice in epoch {entry.epoch}"
        seen.add(turn)
        record = stored.records.get(entry.job_id)
        if record is not None and entry.epoch > record.epoch:
            yield f"{entry.function} {entry.job_id} was begun after its end"


def _caps(turns: _Turns, records: Mapping[str, Record]) -> Facts:
    changes: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for job_id, epoch in turns.lines:
        record = records.get(job_id)
        if record is None or record.function not in CAPS:
            continue
        if (held := turns.held(record, epoch)) is not None:
            changes[_cap_of(record)] += [(held[0], 1), (held[1], -1)]
    for cap, moments in changes.items():
        running = most = 0
        for _, change in sorted(moments):
            running += change
            most = max(most, running)
        if most > CAPS[cap.split()[0]]:
            yield f"{most} of {cap} ran at once, by the ledger"


def _cap_of(job: Record) -> str:
    if job.function == "capped":
        return job.function
    return f"keyed {job.tenant} {json.loads(job.data)['key']}"


def _undone(stored: Stored, entries: Iterable[Entry]) -> Facts:
    undone: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, int], str] = {}
    for entry in entries:
        if entry.what is not What.UNDO:
            continue
        turn = entry.job_id, entry.epoch
        if (before := last.get(turn)) is not None:
            undone.setdefault((entry.job_id, before), entry.epoch)
            if SAGA.index(entry.step) >= SAGA.index(before):
                yield f"{_name(entry)} was undone after {before}"
        last[turn] = entry.step
        known = undone.get((entry.job_id, entry.step), entry.epoch)
        if entry.epoch > known:
            yield f"{_name(entry)} was undone in epoch {entry.epoch}, known since {known}"
    for job in _all(stored):
        if job.function == "saga" and job.state.ended and not _taken_for_poison(job):
            yield from _left_undone(job)


def _left_undone(job: Record) -> Facts:
    done = [step for step in job.steps if step.kind == "run"]
    if any(step.undone is None or step.compensation != 2 for step in done):
        yield f"saga {job.job_id} ended and not all is undone: {[s.key for s in done]}"
        return
    order = [str(step.undone) for step in done]
    if any(after >= before for before, after in pairwise(order)):
        yield f"saga {job.job_id} was undone in the order of {order}"


def _missed(stored: Stored) -> Facts:
    for job in _all(stored):
        if job.function == "waits" and job.state is JobState.SUCCEEDED:
            came = {key: job.result["steps"][key] for key in ("go", "news")}
            if came != {"go": {"n": job.n}, "news": {"n": job.n}}:
                yield f"{job.function} {job.job_id} got {came}"


def _ends(accepted: Mapping[str, Sent], stored: Stored) -> Facts:
    for job_id, sent in accepted.items():
        job = stored.records.get(job_id)
        if job is None or not job.state.ended or job.state is sent.ends:
            continue
        # What should succeed and did not is counted, not forbidden: see `success`.
        if sent.ends is not JobState.SUCCEEDED and not _taken_for_poison(job):
            yield f"{sent.function} {job_id} ended as {job.state.value}, not {sent.ends.value}"


def success(accepted: Mapping[str, Sent], stored: Stored) -> tuple[int, int, Counter[str]]:
    """Return how many should have succeeded or been undone, how many were, and what else became."""
    due = {job_id: s for job_id, s in accepted.items() if s.function not in {BLOCKED, "poison"}}
    jobs = [(stored.records[job_id], s) for job_id, s in due.items() if job_id in stored.records]
    others = [job for job, sent in jobs if job.state is not sent.ends or _taken_for_poison(job)]
    why = Counter(f"{job.function}: {job.state.value} {job.failure_kind}" for job in others)
    return len(due), len(jobs) - len(others), why


def _taken_for_poison(job: Record) -> bool:
    """Tell whether a job was given up because it had lost so many workers."""
    return job.state is JobState.DEAD_LETTERED and job.crashes >= MAX_CRASHES


def _all(stored: Stored) -> Iterable[Record]:
    return stored.records.values()


def _plain(step: StoredStep) -> Any:
    """Return what the function got for a step, of what is stored."""
    match step.kind:
        case "event" | "signal":
            return None if step.result is None else step.result["data"]
        case "invoke":
            return step.result["result"]
        case _:
            return step.result


def _name(entry: Entry) -> str:
    return f"{entry.function} {entry.job_id} step {entry.step}"
