"""What a tenant has invalidated: for each tag, prefix and namespace, when last.

"When" is a sequence: a number that grows with every invalidation of the tenant. An entry carries
the sequence its writer had seen (its stamp); it is dead if anything that concerns it was
invalidated at a higher one. Comparing two counters needs no clock, and invalidating a tag costs the
same for one entry as for a million.

The store keeps two forms of it: marks, which say when each thing was invalidated last, and a log of
the latest changes. A reader with a memory takes in the changes since; one without loads the marks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Self

from services.cache.entry import MissReason

_HEAD = re.compile(rb"([0-9a-f]{1,64})-([0-9]{1,16})")


class Head(NamedTuple):
    """The end of a history: which one it is, and its last sequence."""

    epoch: str
    sequence: int

    @classmethod
    def parse(cls, text: bytes | None) -> Self | None:
        """Return the head as the store keeps it, or None for nothing or what is no head."""
        match = _HEAD.fullmatch(text) if text else None
        return cls(match[1].decode(), int(match[2])) if match else None

    @property
    def text(self) -> bytes:
        """Return it as the store keeps it."""
        return b"%s-%d" % (self.epoch.encode(), self.sequence)


class Change(NamedTuple):
    """What one record of the log says. `entries` are (namespace, key), `prefixes` likewise.

    Attributes:
        sequence: Its place in the order of the tenant's changes.
        previous: The sequence of the change before.
        time_ms: When it took place, by the store's clock: for people, nothing is decided by it.
        tags: Tags that were invalidated.
        by_event: Whether an event did so.
        prefixes: Beginnings of keys that were invalidated.
        namespaces: Namespaces that were invalidated whole.
        entries: Entries that were removed or replaced; they are gone from the store, but copies of
            them may exist.
        crowds: Namespaces of which so many entries were removed at once that they are not listed.
        everything: Whether all entries are dead.
        retired: All that carries a lower stamp may no longer be written; 0 for no change to that.
        forgotten: Marks up to this one have been dropped; 0 for none.

    """

    sequence: int
    previous: int
    time_ms: int
    tags: tuple[str, ...] = ()
    by_event: bool = False
    prefixes: tuple[tuple[str, str], ...] = ()
    namespaces: tuple[str, ...] = ()
    entries: tuple[tuple[str, str], ...] = ()
    crowds: tuple[str, ...] = ()
    everything: bool = False
    retired: int = 0
    forgotten: int = 0


class Sequel(Enum):
    """How what the store says now goes on from what was known before."""

    CONTINUES = "continues"
    TRIMMED = "trimmed"  # the log does not reach back far enough
    OTHER = "other"  # another history: the store had lost the one before
    LOST = "lost"  # the same history, but the last change that was known is not in it any more


def sequel(known: Head, head: Head | None, changes: Sequence[Change]) -> Sequel:
    """Return how `changes`, the log after `known`, and the store's `head` go on from there.

    A change whose predecessor is older than what was known proves that the known one is gone from
    the chain: a failover has lost it.
    """
    if head is None or head.epoch != known.epoch:
        return Sequel.OTHER
    if head.sequence < known.sequence:
        return Sequel.LOST
    last = known.sequence
    for change in changes:
        if change.previous != last:
            return Sequel.LOST if change.previous < last else Sequel.TRIMMED
        last = change.sequence
    return Sequel.CONTINUES


@dataclass(slots=True, kw_only=True)
class History:
    """All that was invalidated up to `sequence`.

    It changes only by `apply`, in one go: whoever looks at it between two awaits sees it whole.

    Attributes:
        epoch: Names this history; another one begins when the store has lost it.
        sequence: The last invalidation it holds.
        floor: What carries a lower stamp is dead, whatever it is: the history does not reach back.
        retired: What carries a lower stamp must not be written any more: the marks that would tell
            whether it is dead are about to be forgotten. It is as good as lost.
        size: The number of marks.
        head: How the store writes epoch and sequence.

    """

    epoch: str
    sequence: int
    floor: int
    retired: int = 0
    tags: dict[str, tuple[int, bool]] = field(default_factory=dict)
    namespaces: dict[str, int] = field(default_factory=dict)
    # By namespace, then by the length of the prefix: a key has few beginnings to be looked up.
    prefixes: dict[str, dict[int, dict[str, int]]] = field(default_factory=dict)
    size: int = 0
    head: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.head = Head(self.epoch, self.sequence).text

    def verdict(
        self, namespace: str, key: str, tags: tuple[str, ...], stamp: int
    ) -> MissReason | None:
        """Return why what carries `stamp` is dead, or None for what lives."""
        if stamp >= self.sequence:
            # A higher one is of a history that was lost; who reads asks again before believing it.
            return None if stamp == self.sequence else MissReason.NAMESPACE
        if stamp < self.floor or stamp < self.namespaces.get(namespace, 0):
            return MissReason.NAMESPACE
        for tag in tags:
            at, by_event = self.tags.get(tag, (0, False))
            if stamp < at:
                return MissReason.EVENT if by_event else MissReason.TAG
        prefixes = self.prefixes.get(namespace)
        if prefixes is not None and _begins_dead(prefixes, key, stamp):
            return MissReason.PREFIX
        return None

    def apply(self, change: Change) -> None:
        """Take in the next record of the log."""
        at = change.sequence
        self.sequence = at
        self.head = Head(self.epoch, at).text
        if change.everything:
            self._clear(at)
        for tag in change.tags:
            self.mark_tag(tag, at, by_event=change.by_event)
        for namespace, prefix in change.prefixes:
            self.mark_prefix(namespace, prefix, at)
        for namespace in change.namespaces:
            self.mark_namespace(namespace, at)
        self.retired = max(self.retired, change.retired)
        if change.forgotten:
            self._forget(change.forgotten)

    def has_marks(self, *, above: int, up_to: int) -> bool:
        """Return whether anything was invalidated last within a range of sequences."""
        return (
            any(above < at <= up_to for at, _ in self.tags.values())
            or any(above < at <= up_to for at in self.namespaces.values())
            or any(
                above < at <= up_to
                for lengths in self.prefixes.values()
                for marks in lengths.values()
                for at in marks.values()
            )
        )

    def mark_tag(self, tag: str, at: int, *, by_event: bool) -> None:
        """Note when a tag was invalidated last."""
        self.size += tag not in self.tags
        self.tags[tag] = (at, by_event)

    def mark_prefix(self, namespace: str, prefix: str, at: int) -> None:
        """Note when a beginning of keys was invalidated last."""
        marks = self.prefixes.setdefault(namespace, {}).setdefault(len(prefix), {})
        self.size += prefix not in marks
        marks[prefix] = at

    def mark_namespace(self, namespace: str, at: int) -> None:
        """Note when a namespace was invalidated last."""
        self.size += namespace not in self.namespaces
        self.namespaces[namespace] = at

    def _clear(self, floor: int) -> None:
        self.floor = floor
        self.tags.clear()
        self.prefixes.clear()
        self.namespaces.clear()
        self.size = 0

    def _forget(self, up_to: int) -> None:
        """Drop marks that concern nothing any more."""
        self.tags = {tag: mark for tag, mark in self.tags.items() if mark[0] > up_to}
        self.namespaces = {name: at for name, at in self.namespaces.items() if at > up_to}
        left = {
            namespace: {length: _younger(marks, up_to) for length, marks in lengths.items()}
            for namespace, lengths in self.prefixes.items()
        }
        self.prefixes = {
            namespace: {length: marks for length, marks in lengths.items() if marks}
            for namespace, lengths in left.items()
            if any(lengths.values())
        }
        self.size = len(self.tags) + len(self.namespaces)
        self.size += sum(len(m) for lengths in self.prefixes.values() for m in lengths.values())


def _begins_dead(prefixes: dict[int, dict[str, int]], key: str, stamp: int) -> bool:
    return any(stamp < marks.get(key[:length], 0) for length, marks in prefixes.items())


def _younger(marks: dict[str, int], than: int) -> dict[str, int]:
    return {prefix: at for prefix, at in marks.items() if at > than}
