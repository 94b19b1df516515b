"""Calls that are stored together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from mainstay.errors import DatabaseError, QueueFullError, UnavailableError, ValidationError
from services.jobs import group_commit
from services.jobs.event import AcceptedEvent, NewCall, NewEvent, Origin
from services.jobs.group_commit import Answers, GroupCommit
from services.jobs.job import EventId
from services.jobs.ports import Stored
from services.jobs.wakeups import Change, Wakeups
from shared.rpc.call import Tenant

ACME, GLOBEX = Tenant("acme"), Tenant("globex")


def call(number: int, *, tenant: Tenant = ACME, events: int = 1, size: int = 2) -> NewCall:
    """Return a call whose events have the number as their id."""
    event = NewEvent(
        event_id=EventId(UUID(int=number)),
        name="e",
        data="{}",
        size=size,
        value={},
        idempotency_key="",
        content_hash=b"",
    )
    origin = Origin(tenant=tenant, request_id="r", traceparent="")
    return NewCall(origin=origin, events=(event,) * events)


def answers(one: NewCall) -> Answers:
    """Return what becomes of a call that is stored."""
    return tuple(
        AcceptedEvent(event_id=event.event_id, job_ids=(), duplicate=False) for event in one.events
    )


class Store:
    """Stores nothing, one transaction after the other, each when the test lets it.

    Attributes:
        batches: The numbers of the calls of each transaction.
        refused: Calls that are refused, by number, each with its error.
        broken: Calls that break the transaction they are part of.

    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.refused: dict[int, QueueFullError] = {}
        self.broken: dict[int, Exception] = {}
        self.turns = asyncio.Semaphore(0)
        self.begun: asyncio.Queue[Tenant] = asyncio.Queue()

    async def accept(self, tenant: Tenant, calls: Sequence[NewCall]) -> Stored:
        """Wait for the test, then answer."""
        numbers = [call.events[0].event_id.int for call in calls]
        self.batches.append(numbers)
        self.begun.put_nowait(tenant)
        await self.turns.acquire()
        for number in numbers:
            if number in self.broken:
                raise self.broken[number]
        outcomes = [
            self.refused.get(number) or answers(call)
            for number, call in zip(numbers, calls, strict=True)
        ]
        return Stored(outcomes=tuple(outcomes), change=Change(work=True))

    async def has_function(self, tenant: Tenant, name: str) -> bool:
        """Know no function."""
        return False

    def go_on(self, turns: int = 1_000) -> None:
        """Let the next transactions end."""
        for _ in range(turns):
            self.turns.release()


@pytest.fixture
def store() -> Store:
    """Provide the store."""
    return Store()


@pytest.fixture
async def commits(store: Store) -> AsyncIterator[GroupCommit]:
    """Provide a group commit over the store."""
    commits = GroupCommit(store, Wakeups())
    await commits.start()
    yield commits
    await commits.close()


async def send(commits: GroupCommit, *calls: NewCall) -> list[asyncio.Task[Answers]]:
    """Let calls come, in order."""
    tasks = [asyncio.create_task(commits.accept(one)) for one in calls]
    await asyncio.sleep(0)  # each has begun once every other task had its turn
    return tasks


async def begun(store: Store) -> Tenant:
    """Wait until the next transaction has begun."""
    async with asyncio.timeout(5):
        return await store.begun.get()


class TestGathering:
    async def test_alone(self, commits: GroupCommit, store: Store) -> None:
        """A call that comes alone is stored at once."""
        (task,) = await send(commits, call(1))
        await begun(store)
        store.go_on()

        assert answers(call(1)) == await task

    async def test_together(self, commits: GroupCommit, store: Store) -> None:
        """What comes while a transaction runs is stored by the next, in order."""
        first = await send(commits, call(1))
        await begun(store)
        others = await send(commits, *[call(number) for number in range(2, 7)])
        store.go_on()

        told = await asyncio.gather(*first, *others)

        assert [[1], [2, 3, 4, 5, 6]] == store.batches
        assert [answers(call(number)) for number in range(1, 7)] == told

    async def test_bounds(self, commits: GroupCommit, store: Store) -> None:
        """A transaction takes so many events and bytes, and a larger call alone."""
        first = await send(commits, call(1))
        await begun(store)
        many, large = group_commit.MAX_EVENTS, group_commit.MAX_BYTES
        others = await send(
            commits,
            call(2, events=many - 1),
            call(3),
            call(4),
            call(5, size=large + 1),
            call(6, size=large),
            call(7, size=1),
        )
        store.go_on()

        await asyncio.gather(*first, *others)

        assert [[1], [2, 3], [4], [5], [6], [7]] == store.batches

    async def test_tenants(self, commits: GroupCommit, store: Store) -> None:
        """Tenants do not wait for each other, and share no transaction."""
        tasks = await send(commits, call(1), call(2), call(3, tenant=GLOBEX))

        assert {ACME, GLOBEX} == {await begun(store), await begun(store)}
        store.go_on()
        await asyncio.gather(*tasks)
        assert [[1, 2], [3]] == sorted(store.batches)

    async def test_told_once(self, store: Store) -> None:
        """What became ready is told once for all calls of a transaction."""
        heard: list[Change] = []
        wakeups = Wakeups()
        wakeups.subscribe(heard.append)
        commits = GroupCommit(store, wakeups)
        tasks = await send(commits, call(1), call(2))
        store.go_on()

        await asyncio.gather(*tasks)

        assert [Change(work=True)] == heard


class TestFailures:
    async def test_refused(self, commits: GroupCommit, store: Store) -> None:
        """A call that is refused fails alone."""
        store.refused[2] = QueueFullError("no room")
        tasks = await send(commits, call(1), call(2), call(3))
        store.go_on()

        told = await asyncio.gather(*tasks, return_exceptions=True)

        assert [answers(call(1)), store.refused[2], answers(call(3))] == told
        assert [[1, 2, 3]] == store.batches

    async def test_broken(self, commits: GroupCommit, store: Store) -> None:
        """When one breaks the transaction, each is tried alone and only that one fails."""
        store.broken[2] = ValidationError("cannot be stored", fields={})
        tasks = await send(commits, call(1), call(2), call(3))
        store.go_on()

        told = await asyncio.gather(*tasks, return_exceptions=True)

        assert [answers(call(1)), store.broken[2], answers(call(3))] == told
        assert [[1, 2, 3], [1], [2], [3]] == store.batches

    async def test_database_gone(self, commits: GroupCommit, store: Store) -> None:
        """Without a database all fail, each with an error of its own, and none is tried again."""
        store.broken[2] = DatabaseError("gone")
        tasks = await send(commits, call(1), call(2))
        store.go_on()

        told = await asyncio.gather(*tasks, return_exceptions=True)

        assert [DatabaseError, DatabaseError] == [type(error) for error in told]
        assert told[0] is not told[1]
        assert [[1, 2]] == store.batches

    async def test_goes_on(self, commits: GroupCommit, store: Store) -> None:
        """After a failure the next calls are stored as ever."""
        store.broken[1] = RuntimeError("a fault of ours")
        store.go_on()
        (failed,) = await send(commits, call(1))
        await asyncio.wait([failed])

        (later,) = await send(commits, call(2))

        assert isinstance(failed.exception(), RuntimeError)
        assert answers(call(2)) == await later


class TestLeaving:
    async def test_before_its_turn(self, commits: GroupCommit, store: Store) -> None:
        """The call of a caller that leaves while it waits is not stored."""
        first = await send(commits, call(1))
        await begun(store)
        leaving, staying = await send(commits, call(2), call(3))
        leaving.cancel()
        await asyncio.wait([leaving])
        store.go_on()

        await asyncio.gather(*first, staying)

        assert [[1], [3]] == store.batches

    async def test_during_its_turn(self, commits: GroupCommit, store: Store) -> None:
        """A caller that leaves while its call is stored takes no other along."""
        leaving, staying = await send(commits, call(1), call(2))
        await begun(store)
        leaving.cancel()
        await asyncio.wait([leaving])
        store.go_on()

        assert answers(call(2)) == await staying
        assert [[1, 2]] == store.batches

    async def test_deadline(self, commits: GroupCommit, store: Store) -> None:
        """Nobody waits longer than for as long as the call has."""
        await send(commits, call(1))
        await begun(store)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await commits.accept(call(2))
        store.go_on()


class TestFull:
    async def test_calls(
        self, commits: GroupCommit, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of one tenant only so many calls wait; the next is told when to try again."""
        monkeypatch.setattr(group_commit, "MAX_WAITING", 2)
        tasks = await send(commits, call(1))
        await begun(store)
        tasks += await send(commits, call(2), call(3))

        with pytest.raises(UnavailableError) as caught:
            await commits.accept(call(4))

        assert ("TOO_MANY_WAITING", 0.2) == (caught.value.reason, caught.value.retry_after)
        tasks += await send(commits, call(5, tenant=GLOBEX))
        store.go_on()
        await asyncio.gather(*tasks)
        assert answers(call(6)) == await commits.accept(call(6))

    async def test_bytes(
        self, commits: GroupCommit, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And only so many bytes."""
        monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 10)
        tasks = await send(commits, call(1, size=10))
        await begun(store)
        tasks += await send(commits, call(2, size=8))

        with pytest.raises(UnavailableError):
            await commits.accept(call(3, size=3))
        store.go_on()
        await asyncio.gather(*tasks)


class TestClosing:
    async def test_waiting(self, store: Store) -> None:
        """A service that stops tells whoever still waits."""
        commits = GroupCommit(store, Wakeups())
        tasks = await send(commits, call(1))
        await begun(store)
        tasks += await send(commits, call(2))

        await commits.close()

        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [UnavailableError, UnavailableError] == [type(error) for error in told]
