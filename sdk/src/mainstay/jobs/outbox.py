"""What a worker has to tell the service and is not yet sure the service has stored.

Every report of a token has a sequence, from 1, given once: after a broken stream the same reports
go out again under the same sequences, and the service answers DUPLICATE to what it had stored.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from mainstay.jobs.assignment import Token
from mainstay.jobs.v1 import worker_service_pb2 as pb

MAX_REPORTS = 500
# Results are up to 1 MiB each and a message up to 4 MiB: 2 MiB and one more result always fit.
MAX_BATCH_BYTES = 2 * 1024 * 1024


@dataclass(slots=True, kw_only=True, eq=False)
class Letter:
    """One report on its way to the service.

    Attributes:
        token: Of which job.
        report: What it says. Token and sequence are filled in by the outbox.
        ends: Whether it ends the turn: once it is stored, nothing more is said of this token.
        folds: Whether it is news of progress, which newer news replaces.
        sent: Whether it has gone out before, on this stream or an earlier one.
        waiter: Who waits for the answer. Belongs to the handlers' loop, like every future; it
            travels with the letter so that nobody has to look it up.

    """

    token: Token
    report: pb.Report
    ends: bool = False
    folds: bool = False
    sent: bool = False
    waiter: asyncio.Future[None] | None = None


@dataclass(slots=True)
class _TokenLetters:
    """The letters of one token. News of progress is folded: one unanswered, one held back."""

    last_sequence: int = 0
    unanswered: dict[int, Letter] = field(default_factory=dict)
    progress: Letter | None = None
    held_progress: Letter | None = None


class Outbox:
    """Unanswered letters by token, and which of them are yet to be sent on this stream."""

    def __init__(self) -> None:
        self._tokens: dict[Token, _TokenLetters] = {}
        # Ordered: a batch is taken from its front. Holds nothing that is not unanswered.
        self._unsent: dict[Letter, None] = {}

    def __len__(self) -> int:
        """Return how many reports are to be sent."""
        return len(self._unsent)

    def __contains__(self, token: Token) -> bool:
        """Tell whether the token is open."""
        return token in self._tokens

    @property
    def open_tokens(self) -> int:
        """Return how many tokens are open."""
        return len(self._tokens)

    def tokens(self) -> list[Token]:
        """Return the open tokens."""
        return list(self._tokens)

    def quiet_tokens(self) -> Iterable[Token]:
        """Yield the open tokens of which nothing waits for the service."""
        return (token for token, letters in self._tokens.items() if not letters.unanswered)

    def open(self, token: Token) -> None:
        """Begin with a new assignment."""
        self._tokens[token] = _TokenLetters()

    def close(self, token: Token) -> None:
        """Forget a token: its end is stored, or it is lost."""
        letters = self._tokens.pop(token, None)
        for letter in letters.unanswered.values() if letters else ():
            self._unsent.pop(letter, None)

    def add(self, letter: Letter) -> None:
        """Queue a letter; nothing is said about tokens that are closed."""
        letters = self._tokens.get(letter.token)
        if letters is None:
            return
        if letter.folds:
            self._add_progress(letters, letter)
        else:
            self._release_progress(letters)
            self._queue(letters, letter)

    def answer(self, token: Token, sequence: int) -> Letter | None:
        """Return the letter that is now answered, or None when it was before."""
        letters = self._tokens.get(token)
        letter = letters.unanswered.pop(sequence, None) if letters else None
        if letters is None or letter is None:
            return None
        self._unsent.pop(letter, None)
        if letter is letters.progress:
            letters.progress = None
            self._release_progress(letters)
        return letter

    def take_batch(self) -> list[pb.Report]:
        """Take the reports that go out next, in order, within the bounds of one message."""
        batch: list[pb.Report] = []
        size = 0
        while self._unsent and len(batch) < MAX_REPORTS and size < MAX_BATCH_BYTES:
            letter = next(iter(self._unsent))
            del self._unsent[letter]
            letter.sent = True
            size += letter.report.ByteSize()
            batch.append(letter.report)
        return batch

    def rewind(self) -> None:
        """Queue everything unanswered again, for a new stream."""
        self._unsent = {
            letter: None
            for letters in self._tokens.values()
            for letter in letters.unanswered.values()
        }

    def _add_progress(self, letters: _TokenLetters, letter: Letter) -> None:
        """Queue news of progress in place of older news that has not been sent yet."""
        # What goes out again on a new stream may be stored: under its sequence it stays as it was.
        if (sent_next := letters.progress) is not None and not sent_next.sent:
            _fold(sent_next, letter)
            return
        if letters.held_progress is not None:
            _fold(letters.held_progress, letter)
        else:
            letters.held_progress = letter
        # A function that reports faster than the service stores must not pile reports up here.
        if letters.progress is None:
            self._release_progress(letters)

    def _release_progress(self, letters: _TokenLetters) -> None:
        if (letter := letters.held_progress) is not None:
            letters.held_progress = None
            letters.progress = letter
            self._queue(letters, letter)

    def _queue(self, letters: _TokenLetters, letter: Letter) -> None:
        letters.last_sequence += 1
        letter.report.token = letter.token
        letter.report.sequence = letters.last_sequence
        letters.unanswered[letters.last_sequence] = letter
        self._unsent[letter] = None


def _fold(older: Letter, newer: Letter) -> None:
    """Let the newer news stand for both; a partial result stays until there is another."""
    partial = newer.report.progress.partial_json or older.report.progress.partial_json
    older.report.progress.CopyFrom(newer.report.progress)
    older.report.progress.partial_json = partial
