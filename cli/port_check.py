"""Whether the suite can have the ports it is told to use; asked before anything is started."""

import errno
import os
import socket
from itertools import combinations

from cli.layout import Layout, Port

LAST_PORT = 65_535


def port_problem(layout: Layout) -> str | None:
    """Return why the suite cannot have one of its ports, and the way out; None if it can."""
    for one, other in combinations(layout.ports, 2):
        if one.number == other.number:
            return (
                f"port {one.number} is wanted by {one.part} ({one.variable}) and by {other.part} "
                f"({other.variable}); set one of the two to another port"
            )
    for port in layout.ports:
        if obstacle := _obstacle(layout.host, port):
            return (
                f"{layout.host}:{port.number}, for {port.part}, {obstacle}; "
                f"free it or set {port.variable}"
            )
    return None


def _obstacle(host: str, port: Port) -> str:
    """Return what keeps a server from listening there; empty if nothing does."""
    if port.number > LAST_PORT:
        return f"is beyond the last port ({LAST_PORT})"
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port.number, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as probe:
            # As servers do: a port in TIME_WAIT, from connections of the last run, counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return "is in use, maybe by another suite"
        return f"cannot be used ({os.strerror(exc.errno) if exc.errno else exc})"
    return ""
