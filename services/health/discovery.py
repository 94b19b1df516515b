"""Finds the replicas of services: every address that is configured, and all behind a name."""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from services.health.addresses import MAX_REPLICAS, Address, parse_addresses
from services.health.one_thread import OneThread
from services.health.ports import Probe
from services.health.prober import Prober
from services.health.target import replica

TIMEOUT = 3.0
"""Longest wait for the resolver, in seconds."""
MISSES = 3
"""Times in a row that a name has to name nothing before its replicas are gone."""
PATIENCE = 60.0
"""Seconds for which looking up a name may fail before the log says so."""

_JITTER = 0.1
_NOTHING = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

log = structlog.get_logger()

Resolve = Callable[[str], Awaitable[Collection[str]]]
"""Returns the addresses of a host name, or none when it has none; raises OSError when in doubt."""


class SystemResolver:
    """Asks the operating system, each name in one thread at most."""

    def __init__(self) -> None:
        self._threads: dict[str, OneThread[Collection[str]]] = {}

    async def __call__(self, host: str) -> Collection[str]:
        """Return the addresses of a name."""
        if host not in self._threads:
            self._threads[host] = OneThread(f"resolve {host}", lambda: look_up(host))
        return await self._threads[host].ask()


def look_up(host: str) -> Collection[str]:
    """Return the addresses of a name, of one family: most replicas have one of each.

    IPv4 where there is any: `localhost` has both, and services listen on the first.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NOTHING:
            return ()
        raise
    except UnicodeError as error:
        raise OSError(f"no host name: {error}") from error
    families = {family for family, *_ in found}
    chosen = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    return sorted({str(address[0]) for family, *_, address in found if family == chosen})


@dataclass(slots=True)
class Name:
    """What is known of a host name.

    Attributes:
        hosts: The addresses it had when it last had any, until it is believed to have none.
        misses: How many times in a row it had none.
        failing_since: Since when looking it up fails, in monotonic seconds.
        told: Whether the log says that something is wrong with it.

    """

    hosts: Collection[str] = ()
    misses: int = 0
    failing_since: float | None = None
    told: bool = False


class Discovery:
    """Tells the prober of the replicas there are, again and again.

    A resolver that fails takes no replica away: what was known stays. As a resource of the service
    it comes before the prober, so that the first round finds replicas to ask.
    """

    name = "discovery"

    def __init__(
        self,
        prober: Prober,
        services: Mapping[str, str],
        probe_of: Callable[[Address], Probe],
        *,
        interval: float,
        resolve: Resolve | None = None,
        timeout: float = TIMEOUT,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._prober = prober
        self._services = {name: parse_addresses(text) for name, text in services.items()}
        self._probe_of = probe_of
        self._interval = interval
        self._resolve = resolve or SystemResolver()
        self._timeout = timeout
        self._monotonic = monotonic
        self._uniform = uniform
        everywhere = (each for addresses in self._services.values() for each in addresses)
        self._names = {each.host: Name() for each in everywhere if each.is_name}
        self._found: dict[str, list[Address]] = {}

    async def start(self) -> None:
        """Look up all names once: `timeout` seconds at most."""
        await self.run_once()

    async def close(self) -> None:
        """Do nothing: the prober closes the probes."""

    async def run(self) -> None:
        """Look up all names again and again until cancelled; `start` has done so once."""
        while True:
            await asyncio.sleep(self._interval * self._uniform(1 - _JITTER, 1 + _JITTER))
            await self.run_once()

    async def run_once(self) -> None:
        """Look up all names at the same time and tell the prober what has changed."""
        async with asyncio.TaskGroup() as group:
            for host, name in self._names.items():
                group.create_task(self._look_up(host, name), name=f"resolve {host}")
        for service, configured in self._services.items():
            await self._tell(service, self._all_behind(service, configured))

    async def _look_up(self, host: str, name: Name) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                hosts = await self._resolve(host)
        except (OSError, TimeoutError) as error:
            self._fail(host, name, str(error) or f"no answer within {self._timeout:g} s")
            return
        name.failing_since = None
        if not hosts:
            self._miss(host, name)
            return
        if name.told:
            log.info("name_resolved_again", host=host, addresses=len(hosts))
        name.hosts, name.misses, name.told = tuple(hosts), 0, False

    def _fail(self, host: str, name: Name, error: str) -> None:
        now = self._monotonic()
        if name.failing_since is None:
            name.failing_since = now
        if not name.told and (not name.hosts or now - name.failing_since >= PATIENCE):
            name.told = True
            log.warning("name_not_resolved", host=host, error=error, kept=len(name.hosts))

    def _miss(self, host: str, name: Name) -> None:
        name.misses += 1
        if name.misses < MISSES and name.hosts:
            return
        name.hosts = ()
        if not name.told:
            name.told = True
            log.warning("name_names_nothing", host=host)

    def _all_behind(self, service: str, configured: Iterable[Address]) -> list[Address]:
        found = {
            place
            for each in configured
            for place in (self._behind(each) if each.is_name else (each,))
        }
        probed = sorted(found)[:MAX_REPLICAS]
        if len(found) > MAX_REPLICAS and probed != self._found.get(service):
            log.warning("replicas_not_probed", service=service, count=len(found) - MAX_REPLICAS)
        return probed

    def _behind(self, name: Address) -> Iterator[Address]:
        for host in self._names[name.host].hosts:
            yield Address(host, name.port, found_by=name.host)

    async def _tell(self, service: str, addresses: list[Address]) -> None:
        if addresses == self._found.get(service):
            return
        self._found[service] = addresses
        log.info("replicas_found", service=service, replicas=[str(each) for each in addresses])
        await self._prober.replace_replicas(
            service,
            {replica(service, str(each)): self._probe_of(each) for each in addresses},
        )
