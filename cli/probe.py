"""One question to one server, with a bounded wait; the answer says how long it took."""

import asyncio
import os

HTTP_OK = 200


class ProbeError(Exception):
    """A server did not answer, or not as it should; the message says how.

    `permanent` tells that asking again will not help.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


async def http_get(address: str, path: str, *, seconds: float = 2.0) -> tuple[int, bytes]:
    """GET over plain HTTP/1.1; returns the status and the body. Raises ProbeError."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
                )
                response = await reader.read()
            finally:
                writer.close()
    except TimeoutError:
        raise ProbeError(f"no answer within {seconds:g} s") from None
    except OSError as exc:
        # asyncio puts the address into the text, where there is a number for the reason.
        raise ProbeError(os.strerror(exc.errno) if exc.errno else str(exc)) from exc
    head, _, body = response.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), body
    except (IndexError, ValueError):
        raise ProbeError("the answer is not HTTP") from None
