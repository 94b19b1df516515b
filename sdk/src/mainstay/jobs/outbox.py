"""What a worker has to tell the service and is not yet sure the service has stored.

Every report of a token has a sequence, from 1, given once: after a broken stream the same reports
go out again under the same sequences, and the service answers DUPLICATE to what it had stored.
"""

from dataclasses import dataclass, field

from mainstay.jobs.assignment import Token
from mainstay.jobs.v1 import worker_service_pb2 as pb

MAX_REPORTS = 500
# Results are up to 1 MiB each and a message up to 4 MiB: 2 MiB and one more result always fit.
MAX_BATCH_BYTES = 2 * 1024 * 1024


@dataclass(slots=True)
class _TokenReports:
    """The reports of one token. News of progress is folded: one unacknowledged, one held back."""

    last_sequence: int = 0
    unacknowledged: dict[int, pb.Report] = field(default_factory=dict)
    progress_sequence: int = 0
    held_progress: pb.ProgressReported | None = None


class Outbox:
    """Unacknowledged reports by token, and which of them are yet to be sent on this stream."""

    def __init__(self) -> None:
        self._tokens: dict[Token, _TokenReports] = {}
        # Ordered: a batch is taken from its front. Holds nothing that is not unacknowledged.
        self._unsent: dict[tuple[Token, int], pb.Report] = {}

    def __len__(self) -> int:
        """Return how many reports are to be sent."""
        return len(self._unsent)

    def open(self, token: Token) -> None:
        """Begin with a new assignment."""
        self._tokens[token] = _TokenReports()

    def close(self, token: Token) -> None:
        """Forget a token: its end is stored, or it is lost."""
        reports = self._tokens.pop(token, None)
        for sequence in reports.unacknowledged if reports else ():
            self._unsent.pop((token, sequence), None)

    def add(self, token: Token, report: pb.Report) -> int:
        """Queue a report that must arrive and return its sequence."""
        reports = self._tokens[token]
        self._release_progress(token, reports)
        return self._queue(token, reports, report)

    def add_progress(self, token: Token, progress: pb.ProgressReported) -> None:
        """Queue news of progress in place of older news that is not on its way yet."""
        reports = self._tokens[token]
        waiting = self._unsent.get((token, reports.progress_sequence))
        if waiting is not None:
            waiting.progress.CopyFrom(progress)
            return
        reports.held_progress = progress
        # A function that reports faster than the service stores must not pile reports up here.
        if reports.progress_sequence not in reports.unacknowledged:
            self._release_progress(token, reports)

    def acknowledge(self, token: Token, sequence: int) -> pb.Report | None:
        """Return the report that is now settled, or None when it was before."""
        reports = self._tokens.get(token)
        if reports is None:
            return None
        self._unsent.pop((token, sequence), None)
        settled = reports.unacknowledged.pop(sequence, None)
        if sequence == reports.progress_sequence:
            self._release_progress(token, reports)
        return settled

    def take_batch(self) -> list[pb.Report]:
        """Take the reports that go out next, in order, within the bounds of one message."""
        batch: list[pb.Report] = []
        size = 0
        while self._unsent and len(batch) < MAX_REPORTS and size < MAX_BATCH_BYTES:
            report = self._unsent.pop(next(iter(self._unsent)))
            size += report.ByteSize()
            batch.append(report)
        return batch

    def rewind(self) -> None:
        """Queue everything unacknowledged again, for a new stream."""
        self._unsent = {
            (token, sequence): report
            for token, reports in self._tokens.items()
            for sequence, report in reports.unacknowledged.items()
        }

    def _release_progress(self, token: Token, reports: _TokenReports) -> None:
        if reports.held_progress is not None:
            report = pb.Report(progress=reports.held_progress)
            reports.held_progress = None
            reports.progress_sequence = self._queue(token, reports, report)

    def _queue(self, token: Token, reports: _TokenReports, report: pb.Report) -> int:
        reports.last_sequence += 1
        report.token = token
        report.sequence = reports.last_sequence
        reports.unacknowledged[report.sequence] = report
        self._unsent[token, report.sequence] = report
        return report.sequence
