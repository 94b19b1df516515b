"""A plain model of the service behind a near cache: one history, entries, a stream with delay."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mainstay.cache.results import Hit
from mainstay.cache.watching import (
    Discontinuity,
    Heartbeat,
    Invalidation,
    Started,
    Watched,
    WatchEvent,
)

# Where in the service's life something happened: the number of the history, and the place in it.
Place = tuple[int, int]


@dataclass(slots=True, kw_only=True)
class Written:
    """One version of an entry, and where it ended."""

    name: tuple[str, str]
    hit: Hit
    ended: Place | None = None
    ended_by_us: bool = False


class PlainService:
    """What a correct service does, without a thought for speed."""

    def __init__(self) -> None:
        self.histories = 0
        self.sequence = 0
        self.told = 0
        self.written: list[Written] = []
        self.stream: deque[tuple[Place, Watched]] = deque()

    @property
    def place(self) -> Place:
        """Return where it is now."""
        return self.histories, self.sequence

    def read(self, namespace: str, key: str) -> Written | None:
        """Return what stands under a key."""
        return next((w for w in self._living() if w.name == (namespace, key)), None)

    def write(
        self,
        namespace: str,
        key: str,
        *,
        tags: tuple[str, ...],
        now: float,
        life: float,
        by_us: bool = False,
    ) -> None:
        """Replace what stands under a key."""
        self.change(Invalidation(entries=((namespace, key),)), by_us=by_us)
        moment = datetime.fromtimestamp(now, UTC)
        hit = Hit(
            value=b"%d" % len(self.written),
            content_type="",
            version=len(self.written),
            create_time=moment,
            expire_time=moment + timedelta(seconds=life),
            tags=tags,
            sequence=self.sequence,
            near_max_age=timedelta(seconds=5),
        )
        self.written.append(Written(name=(namespace, key), hit=hit))

    def change(self, change: Invalidation, *, by_us: bool = False) -> None:
        """Invalidate, and tell of it."""
        self.sequence += 1
        self._end(lambda written: _concerns(change, written), by_us=by_us)
        self.tell(change)

    def lose_history(self) -> None:
        """Begin another history, in which nothing of the old one counts.

        Its numbers go on where the old one's were, which makes it harder to notice.
        """
        self.histories += 1
        self._end(lambda _: True, by_us=False)
        self.tell(Heartbeat())

    def tell(self, event: WatchEvent) -> None:
        """Put a message on its way."""
        message = Watched(
            epoch=f"history-{self.histories}",
            sequence=self.sequence,
            previous_sequence=self.told,
            event=event,
        )
        self.told = self.sequence
        self.stream.append((self.place, message))

    def forget_last(self) -> None:
        """Tell nobody of the last change, and believe that it was told."""
        _, message = self.stream.pop()
        self.told = message.previous_sequence

    def restart_stream(self) -> None:
        """Begin a stream from now on."""
        self.stream.clear()
        self.tell(Started())

    def lose_track(self) -> None:
        """Say that something may have been missed."""
        self.tell(Discontinuity(cause="a test"))

    def _living(self) -> list[Written]:
        return [written for written in self.written if written.ended is None]

    def _end(self, concerned: Callable[[Written], bool], *, by_us: bool) -> None:
        for written in self._living():
            if concerned(written):
                written.ended = self.place
                written.ended_by_us = by_us


def _concerns(change: Invalidation, written: Written) -> bool:
    namespace, key = written.name
    return (
        change.everything
        or written.name in change.entries
        or namespace in change.namespaces
        or bool({*change.tags} & {*written.hit.tags})
        or any(space == namespace and key.startswith(text) for space, text in change.prefixes)
    )
