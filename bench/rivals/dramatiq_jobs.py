"""dramatiq: Redis, jobs prefetched by one thread and run by others, each acknowledged apart."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from redis.asyncio import Redis

from bench.job_contenders import NOOP, PAUSE, Payload, Shift, WorkerHandle
from bench.rivals.polling import until_none

QUEUE = "bench"
NAMESPACE = "dramatiq"


class DramatiqSender:
    """Enqueues messages, one command each; it has no call for many."""

    def __init__(self, broker: Any, redis: Redis) -> None:
        self._broker = broker
        self._redis = redis
        broker.declare_queue(QUEUE)

    async def send(self, work: str, payloads: Sequence[Payload]) -> None:
        """Queue them one after the other, in a thread."""
        await asyncio.to_thread(self._send, work, payloads)

    def _send(self, work: str, payloads: Sequence[Payload]) -> None:
        for payload in payloads:
            self._broker.enqueue(
                dramatiq.Message(
                    queue_name=QUEUE, actor_name=work, args=(), kwargs=payload.as_dict(), options={}
                )
            )

    async def settle(self, worker: WorkerHandle) -> None:
        """Wait until no message is stored: those acknowledged are deleted."""

        async def count() -> int:
            return int(await self._redis.hlen(f"{NAMESPACE}:{QUEUE}.msgs"))

        await until_none(count)


@asynccontextmanager
async def sender(address: str) -> AsyncIterator[DramatiqSender]:
    """Connect."""
    broker = RedisBroker(url=address, namespace=NAMESPACE)
    async with Redis.from_url(address) as redis:
        yield DramatiqSender(broker, redis)
    broker.close()


async def work(shift: Shift) -> None:
    """Run jobs in threads until asked to stop."""
    logging.getLogger("dramatiq").setLevel(logging.ERROR)
    broker = RedisBroker(url=shift.address, namespace=NAMESPACE)

    def noop(number: int, **_: object) -> None:
        shift.ledger.begin(number)
        shift.ledger.end(number)

    def pause(number: int, seconds: float, **_: object) -> None:
        shift.ledger.begin(number)
        time.sleep(seconds)
        shift.ledger.end(number)

    dramatiq.actor(noop, broker=broker, queue_name=QUEUE, actor_name=NOOP)
    dramatiq.actor(pause, broker=broker, queue_name=QUEUE, actor_name=PAUSE)
    worker = dramatiq.Worker(broker, worker_threads=shift.concurrency)
    worker.start()
    shift.ready()
    await shift.stop.wait()
    await asyncio.to_thread(worker.stop)
