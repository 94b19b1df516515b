"""All that pollers meet of the health service, over a snapshot that the test or probes fill."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from mainstay.health.v1 import health_service_pb2_grpc as pb_grpc
from services.health.agent import AgentServer
from services.health.changes import Changes
from services.health.details import details_for
from services.health.history import History, Incident
from services.health.http import Desk, http_app
from services.health.instance import Instance
from services.health.maintenance import Maintenance, Mode
from services.health.ports import Probe
from services.health.prober import Prober
from services.health.recent import Recent
from services.health.servicer import METHODS, HealthServicer
from services.health.snapshot import Snapshot
from services.health.state import Damping, Observation, State
from services.health.target import Kind, Target, replica
from services.health.verdict import Groups
from services.health.verdicts import Verdicts
from shared.config import CommonSettings
from shared.http import HttpServer
from shared.http_gate import HttpGate
from shared.service import Service

CACHE = Target(name="cache", kind=Kind.SERVICE, critical=True, needs=("redis",))
REDIS = Target(name="redis", kind=Kind.REDIS)
ONE, OTHER = (replica("cache", f"10.0.0.{number}:50051") for number in (7, 8))
GROUPS: Groups = {"edge": {"cache"}}
DAMPING = Damping(rise=1, fall=1, stale_after=600)
RETRY_AFTER = 2
WAIT = 20.0


class _Held:
    """A resource that is not up before the test says so."""

    name = "held"

    def __init__(self) -> None:
        self.may_start = asyncio.Event()

    async def start(self) -> None:
        await self.may_start.wait()

    async def close(self) -> None:
        """Have nothing to give back."""


class _NoPast:
    """What no poller asks for."""

    async def history(self, target: str) -> History:
        raise NotImplementedError

    async def incidents(
        self, target: str, *, limit: int, before: tuple[str, ...] | None = None
    ) -> Sequence[Incident]:
        raise NotImplementedError

    async def set(self, maintenance: Maintenance) -> None:
        raise NotImplementedError

    async def end(self, target: str) -> None:
        raise NotImplementedError


class Stand:
    """One instance; its ports are open from the start, as they are in the service."""

    def __init__(
        self, prober: Prober, *, drain_status: int, token: str | None, groups: Groups
    ) -> None:
        self.prober = prober
        self.service = Service("health", CommonSettings(shutdown_grace=1), port=0, ops_port=0)
        self._held = _Held()
        self._serves, self._ends = asyncio.Event(), asyncio.Event()
        self._drains, self._may_leave = asyncio.Event(), asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        recent = Recent(prober.report, lambda: prober.snapshot)
        verdicts = Verdicts(recent.report, groups=groups, floor=0.5)
        instance = Instance(
            started=lambda: self.service.started,
            serving=lambda: self.service.serving,
            snapshot=lambda: prober.snapshot,
        )
        desk = Desk(
            report=recent.report,
            verdict=verdicts.of,
            instance=instance,
            details=details_for(SecretStr(token) if token else None, HttpGate()),
            retry_after=RETRY_AFTER,
            drain_status=drain_status,
        )
        self.changes = Changes(recent.report)
        prober.listen(lambda _: self.changes.look())
        look_again = self.service.answer_health_for(verdicts)
        self.changes.listen(lambda *_: look_again())
        self.http = HttpServer("health", http_app(desk), "127.0.0.1", 0)
        self.agent = AgentServer(verdicts.of, instance, host="127.0.0.1", port=0, line_timeout=0.2)
        for part in (self.http, self.agent, self._held):
            self.service.use(part)
        self.service.expose(
            pb_grpc.add_HealthServiceServicer_to_server,
            HealthServicer(
                report=recent.report,
                changes=self.changes,
                verdict=verdicts.of,
                instance=instance.obstacle,
                history=_NoPast(),
                maintaining=_NoPast(),
                now=lambda: datetime.now(UTC),
            ),
            METHODS,
        )
        self.service.on_drain(self._draining)

    async def _draining(self) -> None:
        self._drains.set()
        await self._may_leave.wait()

    async def _live(self) -> None:
        async with self.service.running():
            self._serves.set()
            await self._ends.wait()

    async def open(self) -> None:
        """Begin to start, and get as far as a service whose dependency is not up."""
        self._life = asyncio.create_task(self._live())
        async with asyncio.timeout(WAIT):
            while self.agent.port == 0 or self.http.port == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def serve(self) -> None:
        """End the start."""
        self._held.may_start.set()
        await asyncio.wait_for(self._serves.wait(), WAIT)

    async def drain(self) -> None:
        """Begin to drain, and stay there."""
        self._ends.set()
        await asyncio.wait_for(self._drains.wait(), WAIT)

    async def close(self) -> None:
        """Leave."""
        self._may_leave.set()
        self._ends.set()
        assert self._life is not None
        if not self._serves.is_set():
            self._life.cancel()
        with suppress(asyncio.CancelledError):
            await self._life

    def see(
        self,
        state: State,
        *targets: Target,
        message: str = "",
        age: float = 0.0,
        latency: float = 0.001,
    ) -> None:
        """Have the last probe of some targets, as a rule of all, end so."""
        for target in targets or (ONE, OTHER, REDIS):
            seen = Observation(
                target=target.name,
                at=time.monotonic() - age,
                time=datetime.now(UTC),
                latency=latency,
                request_id=f"probe-{target.name}",
                state=state,
                message=message,
            )
            before = self.prober.snapshot
            # Time may go back here, so that a report of a moment ago would still be as of now.
            self.prober.snapshot = replace(before.after(seen), revision=before.revision + 1)
        self.changes.look()

    def take_out(self, name: str, mode: Mode, reason: str = "a new disk") -> None:
        """Take a target out of service; `end` brings all of them back."""
        now = datetime.now(UTC)
        maintenance = Maintenance(
            target=name,
            mode=mode,
            start_time=now - timedelta(seconds=1),
            end_time=now + timedelta(hours=1),
            reason=reason,
        )
        self.prober.set_maintenances({name: maintenance})

    def bring_back(self) -> None:
        """End every maintenance."""
        self.prober.set_maintenances({})


@asynccontextmanager
async def open_stand(
    *,
    serving: bool = True,
    drain_status: int = 503,
    token: str | None = None,
    groups: Groups = GROUPS,
    replicas: Mapping[Target, Probe] | None = None,
) -> AsyncIterator[Stand]:
    """Run one within the block, healthy; with probes for its replicas, probe them until it ends."""
    snapshot = Snapshot.empty((CACHE, REDIS), damping=DAMPING, time=datetime.now(UTC))
    prober = Prober({}, snapshot, interval=0.1, timeout=0.5)
    if replicas is None:
        prober.snapshot = snapshot.with_replicas("cache", (ONE, OTHER))
    else:
        await prober.replace_replicas("cache", replicas)
    stand = Stand(prober, drain_status=drain_status, token=token, groups=groups)
    if serving:
        stand.see(State.HEALTHY)
    await stand.open()
    probing = asyncio.create_task(prober.run()) if replicas is not None else None
    try:
        if serving:
            await stand.serve()
        yield stand
    finally:
        await stand.close()
        if probing is not None:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        await prober.close()
