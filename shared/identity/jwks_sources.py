"""Where a JWKS is read: an https:// address, or a file."""

import asyncio
import ssl
from pathlib import Path

import httpx

from mainstay.errors import ConfigurationError, UnavailableError
from shared.config import is_loopback
from shared.identity.jwks import Document, Source

MAX_BYTES = 512 * 1024
LONGEST_FETCH = 5.0
SHORTEST = 300.0
LONGEST = 600.0
"""Seconds that a fetched JWKS is good for, whatever the issuer says of it."""
RETRY_AFTER = 30.0
FILE_INTERVAL = 2.0
MAX_PORT = 65_535


class FileSource:
    """A JWKS in a file, which is looked at every two seconds."""

    own = True
    retry_after = FILE_INTERVAL

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> Document:
        """Return it; raises ConfigurationError for a file that is missing or no text."""
        return Document(text=await asyncio.to_thread(self._text), good_for=FILE_INTERVAL)

    async def close(self) -> None:
        """Nothing is open."""

    def _text(self) -> str:
        try:
            with self._path.open("rb") as file:
                read = file.read(MAX_BYTES + 1)
            if len(read) > MAX_BYTES:
                raise ConfigurationError(f"the JWKS {self._path} has more than {MAX_BYTES} bytes")
            return read.decode()
        except OSError as error:
            raise ConfigurationError(
                f"the JWKS {self._path} cannot be read: {error.strerror}; see "
                "MAINSTAY_AUTH_JWT_JWKS"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"the JWKS {self._path} is not UTF-8 text") from error


class HttpSource:
    """A JWKS that its issuer serves. Redirects are not followed: they could leave the issuer."""

    own = False
    retry_after = RETRY_AFTER

    def __init__(self, url: str, *, trust: ssl.SSLContext | None = None) -> None:
        """Trust the system's CAs, those of SSL_CERT_FILE, or those of `trust`."""
        self._url = url
        self._client = httpx.AsyncClient(
            timeout=LONGEST_FETCH, verify=trust or True, follow_redirects=False
        )

    async def read(self) -> Document:
        """Return it; raises UnavailableError for all that can go wrong on the way."""
        try:
            async with asyncio.timeout(LONGEST_FETCH):
                return await self._fetched()
        except (httpx.HTTPError, OSError, ValueError) as error:
            what = str(error) or type(error).__name__
            raise UnavailableError(
                f"the JWKS {self._url} cannot be fetched: {what}", reason="JWKS_UNAVAILABLE"
            ) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _fetched(self) -> Document:
        # Compressed it could be any size.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"the answer has status {response.status_code}, not 200")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ValueError("the answer is compressed, though that was not accepted")
            read = bytearray()
            async for part in response.aiter_raw():
                read += part
                if len(read) > MAX_BYTES:
                    raise ValueError(f"the answer has more than {MAX_BYTES} bytes")
            return Document(text=read.decode(), good_for=_good_for(response.headers))


def _good_for(headers: httpx.Headers) -> float:
    for directive in headers.get("cache-control", "").split(","):
        name, _, seconds = directive.strip().partition("=")
        if name.lower() == "max-age" and seconds.isascii() and seconds.isdecimal():
            return min(max(float(seconds[:9]), SHORTEST), LONGEST)
    return SHORTEST


def jwks_source(place: str) -> Source:
    """Return the source that the setting names; raises ConfigurationError for an open address."""
    if "://" not in place:
        return FileSource(Path(place))
    if _is_safe(place):
        return HttpSource(place)
    raise ConfigurationError(
        "MAINSTAY_AUTH_JWT_JWKS should be an https:// URL or the path of a file: whoever can "
        "change the answer on its way could sign tokens (http:// is for 127.0.0.1)"
    )


def _is_safe(place: str) -> bool:
    try:
        url = httpx.URL(place)
    except httpx.InvalidURL:
        return False
    if not url.host or (url.port or 0) > MAX_PORT:
        return False
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))
