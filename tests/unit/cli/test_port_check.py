"""Whether the suite can have its ports is known before anything starts."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cli.layout import Layout
from cli.port_check import port_problem
from cli.settings import SuiteSettings


@pytest.fixture
def taken() -> Iterator[int]:
    """Listen on some port, as another suite would."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_layout(*, processes: int = 1) -> Layout:
    """Return a layout that has nothing wrong with it."""
    layout = Layout.on_free_ports()
    services = tuple(replace(service, processes=processes) for service in layout.services)
    layout = replace(layout, services=services, processes=processes)
    return layout if port_problem(layout) is None else free_layout(processes=processes)


def with_cache(layout: Layout, *, port: int | None = None, ops_port: int | None = None) -> Layout:
    """Return the layout with other ports of cache."""
    cache, *others = layout.services
    cache = replace(cache, port=port or cache.port, ops_port=ops_port or cache.ops_port)
    return replace(layout, services=(cache, *others))


class TestPortsInUse:
    def test_names_port_part_and_variable(self, taken: int) -> None:
        """The message says what is taken, for what it was wanted and how to choose another."""
        layout = with_cache(free_layout(), ops_port=taken)

        assert port_problem(layout) == (
            f"127.0.0.1:{taken}, for cache operations, is in use, maybe by another suite; "
            "free it or set MAINSTAY_CACHE_OPS_PORT"
        )

    def test_looks_at_every_port(self, taken: int) -> None:
        """Those for calls and that of the health report count as well."""
        layout = free_layout()
        problems = [
            port_problem(with_cache(layout, port=taken)) or "",
            port_problem(replace(layout, http_port=taken)) or "",
        ]
        named = [problem.rpartition(" ")[2] for problem in problems]

        assert named == ["MAINSTAY_CACHE_PORT", "MAINSTAY_HEALTH_HTTP_PORT"]

    def test_looks_at_those_of_every_process(self, taken: int) -> None:
        """The second process's operations port is a hundred above the first one's."""
        layout = with_cache(free_layout(processes=2), ops_port=taken - 100)

        assert f"127.0.0.1:{taken}, for cache operations of process 2" in str(port_problem(layout))


class TestPortsThatCannotBe:
    def test_two_equal_ones(self) -> None:
        """Both parts and both variables are named."""
        layout = free_layout()
        number = layout.services[1].port
        problem = str(port_problem(with_cache(layout, ops_port=number)))

        assert f"port {number} is wanted by" in problem
        assert "MAINSTAY_CACHE_OPS_PORT" in problem
        assert "MAINSTAY_RATELIMIT_PORT" in problem

    def test_beyond_the_last_one(self) -> None:
        """Counting up for a process may leave the range of ports."""
        layout = with_cache(free_layout(processes=2), ops_port=65_500)

        assert "65600, for cache operations of process 2, is beyond" in str(port_problem(layout))

    def test_default_ports_have_room_for_every_process(self) -> None:
        """With as many processes as can be set, no two default ports meet."""
        ports = Layout.from_settings(SuiteSettings(processes=64)).ports
        numbers = [port.number for port in ports]

        assert len(numbers) == len(set(numbers))
