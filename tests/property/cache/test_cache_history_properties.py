"""A history against a plain list of all that was ever invalidated."""

from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.cache.entry import MissReason
from services.cache.history import Change, Head, History, Sequel, sequel
from services.cache.log_format import (
    change,
    keys_record,
    mark_fields,
    marked,
    marks_record,
    retirement_record,
)

BEGINNING = 1_000

names = st.sampled_from(["a", "ab", "abc", "b", "ba", "€", "€a"])
rarely = st.integers(0, 9).map(lambda n: n == 9)
places = st.sampled_from(["v", "w"])
prefixes = st.tuples(places, names)


@st.composite
def changes(draw: st.DrawFn, *, retiring: bool = False) -> list[Change]:
    """Make the log of a tenant, from its beginning on."""
    steps = draw(st.lists(st.integers(1, 3), max_size=12))
    log, last = [], BEGINNING
    for step in steps:
        everything = draw(rarely)
        log.append(
            Change(
                sequence=last + step,
                previous=last,
                time_ms=0,
                tags=tuple(draw(st.lists(names, max_size=2))),
                by_event=draw(st.booleans()),
                prefixes=tuple(draw(st.lists(prefixes, max_size=2))),
                namespaces=tuple(draw(st.lists(places, max_size=1))) if draw(rarely) else (),
                entries=tuple((where, "key") for where in draw(st.lists(names, max_size=1))),
                everything=everything,
                forgotten=draw(st.integers(BEGINNING, last)) if retiring else 0,
            )
        )
        last += step
    return log


entries = st.tuples(
    places,
    names,
    st.lists(names, max_size=3).map(tuple),
    st.integers(BEGINNING - 5, BEGINNING + 40),
)
Entry = tuple[str, str, tuple[str, ...], int]


def history_of(log: list[Change]) -> History:
    history = History(epoch="e", sequence=BEGINNING, floor=BEGINNING)
    for record in log:
        history.apply(record)
    return history


def concerns(record: Change, entry: Entry) -> set[MissReason]:
    """Say for what reasons a change makes an entry dead, looking at one after the other."""
    namespace, key, tags, stamp = entry
    if stamp >= record.sequence:
        return set()
    reasons = set()
    if record.everything or namespace in record.namespaces:
        reasons.add(MissReason.NAMESPACE)
    # What is named together with `everything` is dead of both.
    if set(tags) & set(record.tags):
        reasons.add(MissReason.EVENT if record.by_event else MissReason.TAG)
    if any(where == namespace and key.startswith(prefix) for where, prefix in record.prefixes):
        reasons.add(MissReason.PREFIX)
    return reasons


class TestVerdict:
    @settings(max_examples=500)
    @given(changes(), entries)
    def test_is_that_of_looking_at_every_change(self, log: list[Change], entry: Entry) -> None:
        """Dead if anything that concerns it came after its stamp, and for one of those reasons."""
        history = history_of(log)
        reasons = set().union(*(concerns(record, entry) for record in log))
        stamp = entry[3]
        if stamp < BEGINNING or stamp > history.sequence:
            reasons.add(MissReason.NAMESPACE)

        verdict = history.verdict(*entry)

        assert (verdict is None) == (not reasons)
        assert verdict is None or verdict in reasons

    @given(changes())
    def test_what_is_stamped_with_the_last_sequence_lives(self, log: list[Change]) -> None:
        """Whoever knew of everything wrote what is true."""
        history = history_of(log)

        assert history.verdict("a", "ab", ("a", "b"), history.sequence) is None


class TestForgetting:
    @given(changes(retiring=True), entries)
    def test_changes_no_verdict_on_what_is_younger(self, log: list[Change], entry: Entry) -> None:
        """Dropping a mark only concerns what was stamped before it."""
        remembering = history_of([record._replace(forgotten=0) for record in log])
        forgetting = history_of(log)
        forgotten = max((record.forgotten for record in log), default=0)
        alive = forgetting.verdict(*entry) is None

        if entry[3] >= forgotten:
            assert alive == (remembering.verdict(*entry) is None)
        else:
            assert alive >= (remembering.verdict(*entry) is None)

    @given(changes(retiring=True))
    def test_the_number_of_marks_is_kept(self, log: list[Change]) -> None:
        """What bounds the memory counts what is in it."""
        history = history_of(log)
        marks = [mark for by in history.prefixes.values() for at in by.values() for mark in at]

        assert len(history.tags) + len(history.namespaces) + len(marks) == history.size


class TestStore:
    @given(changes())
    def test_marks_hold_the_same_as_the_log(self, log: list[Change]) -> None:
        """A replica that loads the marks judges as one that followed the log."""
        fields: dict[str, str] = {"epoch": "e", "floor": str(BEGINNING)}
        for record in log:
            if record.everything:
                fields = {"epoch": "e", "floor": str(record.sequence)}
            named = mark_fields(record.tags, record.prefixes, record.namespaces)
            fields |= dict.fromkeys(named, f"{record.sequence}{'e' * record.by_event}")
        followed = history_of(log)
        loaded = History(epoch="e", sequence=followed.sequence, floor=0)

        marked(loaded, ((name.encode(), value.encode()) for name, value in fields.items()))

        # An event says so only of tags: nobody asks it of the rest.
        assert followed == loaded

    @given(changes())
    def test_a_record_says_what_was_changed(self, log: list[Change]) -> None:
        """What is written to the log is what is read from it."""
        for one in log:
            record = marks_record(one.tags, one.prefixes, one.namespaces, by_event=one.by_event)
            read = change(one.sequence, one.previous, 0, record, everything=one.everything)

            assert one._replace(entries=()) == read

    @given(names, st.lists(names, min_size=1))
    def test_entries_are_listed(self, namespace: str, keys: list[str]) -> None:
        """Those who keep copies learn which."""
        read = change(2, 1, 3, keys_record(namespace, keys), everything=False)

        assert read is not None
        assert tuple((namespace, key) for key in keys) == read.entries

    def test_a_crowd_of_entries_is_told_by_its_namespace(self) -> None:
        """The log stays small: 10,000 records of 1,000 long keys each would fill the store."""
        keys = [f"{n:0512}" for n in range(1_000)]

        record = keys_record("video", keys)

        assert len(record) < 100
        assert change(2, 1, 3, record, everything=False) == Change(2, 1, 3, crowds=("video",))

    def test_a_retirement_is_told(self) -> None:
        """Replicas learn what may no longer be written and what they may forget."""
        read = change(2, 1, 3, retirement_record(9, 8), everything=False)

        assert Change(2, 1, 3, retired=9, forgotten=8) == read

    @given(st.binary(max_size=30) | st.sampled_from([b"[]", b"1", b'{"t":1}', b'{"k":["a"]}']))
    def test_what_is_no_record_is_not_guessed_at(self, record: bytes) -> None:
        """It may say anything: the reader loads the marks instead."""
        read = change(2, 1, 3, record, everything=False)

        assert read is None or read == Change(2, 1, 3)


class TestHead:
    @given(st.integers(0, 2**53), st.text("0123456789abcdef", min_size=1, max_size=16))
    def test_is_read_as_it_is_written(self, sequence: int, epoch: str) -> None:
        """Epoch and sequence, as in the store."""
        assert Head(epoch, sequence) == Head.parse(Head(epoch, sequence).text)

    @given(st.none() | st.binary(max_size=20).filter(lambda text: b"-" not in text))
    def test_nothing_else_is_a_head(self, text: bytes | None) -> None:
        """Nothing, or what another program wrote."""
        assert Head.parse(text) is None


class TestSequel:
    @given(changes(), st.data())
    def test_an_unbroken_chain_is_gone_on_with(
        self, log: list[Change], data: st.DataObject
    ) -> None:
        """From wherever one has got to, the rest of the log leads to the head."""
        at = data.draw(st.integers(0, len(log)))
        sequences = [BEGINNING, *(record.sequence for record in log)]

        how = sequel(Head("e", sequences[at]), Head("e", sequences[-1]), log[at:])

        assert how is Sequel.CONTINUES

    @given(changes(), st.data())
    def test_a_lost_change_is_found(self, log: list[Change], data: st.DataObject) -> None:
        """A store that was set back does not contain the last thing that was known."""
        kept = data.draw(st.integers(0, len(log)))
        sequences = [BEGINNING, *(record.sequence for record in log[:kept])]
        known = data.draw(st.integers(sequences[-1] + 1, sequences[-1] + 10))
        later = _continued(sequences[-1], data.draw(st.lists(st.integers(1, 20), max_size=3)))
        head = later[-1].sequence if later else sequences[-1]
        # That no number is used twice is what sequences follow the store's clock for.
        assume(known not in {record.sequence for record in later})

        how = sequel(Head("e", known), Head("e", head), [r for r in later if r.sequence > known])

        assert how is Sequel.LOST

    @given(st.lists(st.integers(1, 5), min_size=3, max_size=9), st.integers(2, 8))
    def test_a_trimmed_log_is_found(self, steps: list[int], trimmed: int) -> None:
        """The chain begins after what was known: nobody can say what stood between."""
        log = _continued(BEGINNING, steps)
        rest = log[min(trimmed, len(log) - 1) :]

        how = sequel(Head("e", BEGINNING), Head("e", log[-1].sequence), rest)

        assert how is Sequel.TRIMMED

    @given(changes())
    def test_another_epoch_is_another_history(self, log: list[Change]) -> None:
        """Whatever its sequence: the store has lost the one that was known."""
        head = Head("other", log[-1].sequence if log else BEGINNING)

        assert sequel(Head("e", BEGINNING), head, log) is Sequel.OTHER
        assert sequel(Head("e", BEGINNING), None, ()) is Sequel.OTHER


def _continued(last: int, steps: list[int]) -> list[Change]:
    sequences = [last]
    for step in steps:
        sequences.append(sequences[-1] + step)
    return [Change(sequence, previous, 0) for previous, sequence in pairwise(sequences)]
