"""Events and their jobs in PostgreSQL."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstay.errors import AlreadyExistsError
from services.jobs.event import AcceptedEvent, NewEvent, Origin
from services.jobs.job import EventId, JobId
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant

Queries = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The event that a key stands for."""

    event_id: EventId
    content_hash: bytes


class PostgresEvents:
    """Implements EventStore."""

    def __init__(self, postgres: Postgres, queries: Queries) -> None:
        self._postgres = postgres
        self._queries = queries

    async def accept(self, origin: Origin, events: Sequence[NewEvent]) -> list[AcceptedEvent]:
        """Store events and start their jobs."""

        async def work(connection: Connection) -> list[AcceptedEvent]:
            keyed = await self._claim_keys(connection, origin.tenant, events)
            answers = [_answering(event, keyed, number) for number, event in enumerate(events)]
            fresh = [
                event
                for event, answer in zip(events, answers, strict=True)
                if answer == event.event_id
            ]
            jobs = await self._start(connection, origin, fresh)
            earlier = set(answers) - jobs.keys()
            jobs |= await self._find_jobs(connection, origin.tenant, earlier)
            return [
                AcceptedEvent(
                    event_id=answer,
                    job_ids=tuple(jobs.get(answer, ())),
                    duplicate=answer != event.event_id,
                )
                for event, answer in zip(events, answers, strict=True)
            ]

        return await self._postgres.run(origin.tenant, work)

    async def _claim_keys(
        self, connection: Connection, tenant: Tenant, events: Sequence[NewEvent]
    ) -> dict[str, _Known]:
        """Return which event each key of the call stands for, new keys included."""
        wanted: dict[str, NewEvent] = {}
        for event in events:
            if event.idempotency_key:
                # Of events of one call with one key, the first is stored.
                wanted.setdefault(event.idempotency_key, event)
        if not wanted:
            return {}
        taken = await connection.fetch(
            self._queries["claim_keys"],
            tenant,
            list(wanted),
            [event.event_id for event in wanted.values()],
            [event.content_hash for event in wanted.values()],
        )
        known = {
            row["key"]: _Known(
                event_id=wanted[row["key"]].event_id, content_hash=wanted[row["key"]].content_hash
            )
            for row in taken
        }
        if used := [key for key in wanted if key not in known]:
            rows = await connection.fetch(self._queries["find_keys"], tenant, used)
            known |= {
                row["key"]: _Known(event_id=row["event_id"], content_hash=row["content_hash"])
                for row in rows
            }
        return known

    async def _start(
        self, connection: Connection, origin: Origin, events: Sequence[NewEvent]
    ) -> dict[EventId, list[JobId]]:
        if not events:
            return {}
        rows = await connection.fetch(
            self._queries["insert_events"],
            origin.tenant,
            origin.request_id,
            origin.traceparent,
            [event.event_id for event in events],
            [event.name for event in events],
            [event.version for event in events],
            [event.data for event in events],
        )
        return _grouped(rows)

    async def _find_jobs(
        self, connection: Connection, tenant: Tenant, events: Iterable[EventId]
    ) -> dict[EventId, list[JobId]]:
        wanted = list(events)
        if not wanted:
            return {}
        rows = await connection.fetch(self._queries["find_jobs_of_events"], tenant, wanted)
        return _grouped(rows)


def _answering(event: NewEvent, keyed: Mapping[str, _Known], number: int) -> EventId:
    """Return the event that answers for `event`: itself, or the one its key stands for."""
    if not event.idempotency_key:
        return event.event_id
    known = keyed[event.idempotency_key]
    if known.content_hash != event.content_hash:
        raise AlreadyExistsError(
            f"events[{number}].idempotency_key was used for another event (name, version or "
            "payload differ); use a new key for a new event",
            resource_type="event",
            resource_name=event.idempotency_key,
            reason="IDEMPOTENCY_KEY_REUSED",
            metadata={"event_id": str(known.event_id)},
        )
    return known.event_id


def _grouped(rows: Iterable[Any]) -> dict[EventId, list[JobId]]:
    jobs: dict[EventId, list[JobId]] = defaultdict(list)
    for row in rows:
        started = jobs[row["event_id"]]
        if row["job_id"] is not None:
            started.append(row["job_id"])
    # Ids sort by creation.
    return {event_id: sorted(started) for event_id, started in jobs.items()}
