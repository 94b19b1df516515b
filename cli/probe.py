"""One question to one server, with a bounded wait; the answer says how long it took."""

import asyncio
import os
import ssl

HTTP_OK = 200


class ProbeError(Exception):
    """A server did not answer, or not as it should; the message says how.

    `permanent` tells that asking again will not help.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


async def http_get(
    address: str,
    path: str,
    *,
    seconds: float = 2.0,
    tls: ssl.SSLContext | None = None,
    authorization: str | None = None,
) -> tuple[int, bytes]:
    """GET over HTTP/1.1, with TLS if told how; returns the status and the body.

    Raises ProbeError.
    """
    bracketed, _, port = address.rpartition(":")
    host = bracketed.strip("[]")
    head = [f"GET {path} HTTP/1.1", f"Host: {address}", "Connection: close"]
    if authorization:
        head.append(f"Authorization: {authorization}")
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
            try:
                writer.write("\r\n".join([*head, "", ""]).encode())
                response = await reader.read()
            finally:
                writer.close()
    except TimeoutError:
        raise ProbeError(f"no answer within {seconds:g} s") from None
    except ssl.SSLError as exc:
        why = exc.verify_message if isinstance(exc, ssl.SSLCertVerificationError) else exc.reason
        raise ProbeError(f"no TLS: {why}") from exc
    except OSError as exc:
        # asyncio puts the address into the text, where there is a number for the reason.
        raise ProbeError(os.strerror(exc.errno) if exc.errno else str(exc)) from exc
    answered, _, body = response.partition(b"\r\n\r\n")
    try:
        return int(answered.split(b" ", 2)[1]), body
    except (IndexError, ValueError):
        raise ProbeError("the answer is not HTTP") from None
