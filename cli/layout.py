"""Where the parts of the suite are: names, addresses, and the variables that tell the services."""

from collections.abc import Mapping
from dataclasses import dataclass

from cli.ports import free_ports
from cli.settings import SuiteSettings
from shared.processes import PORT_STRIDE

PROBED_BY_HEALTH = ("cache", "ratelimit", "jobs")
SERVICES = (*PROBED_BY_HEALTH, "health")
USED_BY_RATELIMIT = ("cache", "jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that a part of the suite will listen on, and the setting that decides it."""

    part: str
    variable: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """One service's two ports; its processes share the first and each has one of the second."""

    name: str
    host: str
    port: int
    ops_port: int
    processes: int = 1

    @property
    def address(self) -> str:
        return f"{reachable(self.host)}:{self.port}"

    @property
    def ops_address(self) -> str:
        return f"{reachable(self.host)}:{self.ops_port}"

    @property
    def ops_addresses(self) -> tuple[str, ...]:
        """Those of all its processes."""
        ports = ports_of_processes(self.ops_port, self.processes)
        return tuple(f"{reachable(self.host)}:{port}" for port in ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPorts:
    """Where embedded stores should listen; a wish, and 0 has none."""

    redis: int = 0
    postgres: int = 0


# The same at every start, and not the usual ones, which are a Redis's or PostgreSQL's of the
# machine's own.
PREFERRED = EmbeddedPorts(redis=56379, postgres=55432)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The addresses of the four services, and the ports that embedded stores should have."""

    host: str
    services: tuple[ServiceAddress, ...]
    http_port: int
    embedded_ports: EmbeddedPorts
    processes: int = 1

    @classmethod
    def from_settings(cls, settings: SuiteSettings) -> "Layout":
        """Take the ports from the environment; a port of 0 becomes a free one."""
        ports: dict[str, int] = {
            name: getattr(settings, name) for name in (*_port_names(), "health_http_port")
        }
        free = iter(free_ports(list(ports.values()).count(0)))
        taken = {name: port or next(free) for name, port in ports.items()}
        return cls._of(settings.host, taken, PREFERRED, processes=settings.processes)

    @classmethod
    def on_free_ports(cls) -> "Layout":
        """Take free ports, so that a suite that runs already is not disturbed."""
        names = (*_port_names(), "health_http_port")
        taken = dict(zip(names, free_ports(len(names)), strict=True))
        return cls._of("127.0.0.1", taken, EmbeddedPorts())

    @classmethod
    def _of(
        cls, host: str, ports: Mapping[str, int], embedded: EmbeddedPorts, *, processes: int = 1
    ) -> "Layout":
        return cls(
            host=host,
            services=tuple(
                ServiceAddress(
                    name=name,
                    host=host,
                    port=ports[f"{name}_port"],
                    ops_port=ports[f"{name}_ops_port"],
                    processes=processes,
                )
                for name in SERVICES
            ),
            http_port=ports["health_http_port"],
            embedded_ports=embedded,
            processes=processes,
        )

    def service(self, name: str) -> ServiceAddress:
        return next(service for service in self.services if service.name == name)

    @property
    def http_address(self) -> str:
        return f"{reachable(self.host)}:{self.http_port}"

    @property
    def ports(self) -> tuple[Port, ...]:
        """Return every port that the services will listen on, each process's included."""
        shared = [
            Port(
                part=service.name,
                variable=f"MAINSTAY_{service.name.upper()}_PORT",
                number=service.port,
            )
            for service in self.services
        ]
        operations = [
            port
            for service in self.services
            for port in self._ports_of_processes(
                f"{service.name} operations",
                f"MAINSTAY_{service.name.upper()}_OPS_PORT",
                service.ops_port,
            )
        ]
        report = self._ports_of_processes(
            "health report", "MAINSTAY_HEALTH_HTTP_PORT", self.http_port
        )
        return (*shared, *operations, *report)

    def _ports_of_processes(self, part: str, variable: str, first: int) -> list[Port]:
        return [
            Port(
                part=f"{part} of process {index + 1}" if self.processes > 1 else part,
                variable=variable,
                number=number,
            )
            for index, number in enumerate(ports_of_processes(first, self.processes))
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that put the services there, and by which all others find them."""
        variables = {
            "MAINSTAY_HOST": self.host,
            "MAINSTAY_PROCESSES": str(self.processes),
            "MAINSTAY_HEALTH_HTTP_PORT": str(self.http_port),
        }
        for service in self.services:
            prefix = f"MAINSTAY_{service.name.upper()}"
            variables[f"{prefix}_PORT"] = str(service.port)
            variables[f"{prefix}_OPS_PORT"] = str(service.ops_port)
            variables[f"{prefix}_ADDRESS"] = service.address  # for the SDK, `from_environment`
        for name in PROBED_BY_HEALTH:
            variables[f"MAINSTAY_HEALTH_{name.upper()}_ADDRESS"] = self.service(name).address
        for name in USED_BY_RATELIMIT:
            variables[f"MAINSTAY_RATELIMIT_{name.upper()}_ADDRESS"] = self.service(name).address
        variables["MAINSTAY_JOBS_RATELIMIT_ADDRESS"] = self.service("ratelimit").address
        return variables


def reachable(host: str) -> str:
    """Return where this machine reaches what listens on a host, which may be all of its own."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104


def ports_of_processes(first: int, processes: int) -> tuple[int, ...]:
    """Return the port of each process, where every process needs one of its own."""
    return tuple(first + PORT_STRIDE * index for index in range(processes))


def _port_names() -> tuple[str, ...]:
    return tuple(f"{name}_{kind}" for name in SERVICES for kind in ("port", "ops_port"))
