# ruff: noqa: INP001 - a program of its own, copied into images
"""The HEALTHCHECK of an image: `healthy.py SERVICE` exits with 0 where its /readyz says 200.

Docker runs this every few seconds, so it imports next to nothing; started with -I -S it takes a
tenth of the CPU that the project's own clients would.
"""

import os
import socket
import sys

_PORTS = {"cache": 8051, "ratelimit": 8052, "jobs": 8053, "health": 8054}
_EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104 - where a service listens, not where this does
_OFF = {"0", "f", "false", "n", "no", "off"}
_SECONDS = 2.0
_HEAD = 64


def main(service: str) -> int:
    """Ask and return the exit status; an answer that is not 200 is printed for `docker inspect`."""
    port = os.environ.get(f"MAINSTAY_{service.upper()}_OPS_PORT") or _PORTS[service]
    host = os.environ.get("MAINSTAY_HOST", "")
    host = "127.0.0.1" if host in _EVERYWHERE else host
    try:
        head = _ask(host, int(port))
    except OSError as exc:
        sys.stdout.write(f"{host}:{port}: {exc}\n")
        return 1
    if head[9:12] == b"200":
        return 0
    sys.stdout.write(f"{host}:{port}/readyz: {head.decode('latin-1')!r}\n")
    return 1


def _ask(host: str, port: int) -> bytes:
    """Return the beginning of the answer."""
    with _connected(host, port) as connection:
        connection.sendall(
            f"GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        return connection.recv(_HEAD)


def _connected(host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=_SECONDS)
    return _over_tls(connection) if _serves_tls() else connection


def _serves_tls() -> bool:
    if not os.environ.get("MAINSTAY_TLS_CERTIFICATE"):
        return False
    return os.environ.get("MAINSTAY_TLS_HTTP", "true").lower() not in _OFF


def _over_tls(connection: socket.socket) -> socket.socket:
    import ssl  # noqa: PLC0415 - as long to import as all the rest takes

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It asks itself over loopback: whose name stands in the certificate does not matter.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
