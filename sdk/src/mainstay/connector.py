"""Makes connections to one service, over TLS or without.

grpcio takes certificates when a channel is made and never again, also when it reconnects. So when
their files have changed another channel is made.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc

from mainstay.credentials import Credentials
from mainstay.errors import ConfigurationError
from mainstay.pem_files import Pem, PemFiles

LOOK_AGAIN = 1.0
"""Seconds between two looks at whether files have changed."""

Options: TypeAlias = Sequence[tuple[str, Any]]

log = logging.getLogger("mainstay.channel")

_NAMES = {"ca": "Tls(ca=)", "certificate": "Tls(certificate=)", "key": "Tls(key=)"}


class Connector:
    """Makes channels to `target` with the certificates as they are then.

    Raises ConfigurationError for files that cannot be used, and for a token that would travel in
    the clear.
    """

    def __init__(self, target: str, credentials: Credentials, *, options: Options) -> None:
        credentials.check(target)
        self.target = target
        self._options = options
        self._tls = tls = credentials.tls
        self._files = (
            PemFiles(ca=tls.ca, certificate=tls.certificate, key=tls.key, names=_NAMES)
            if tls
            else PemFiles(names=_NAMES)
        )
        self._pem = self._files.read()
        self._looked = time.monotonic()
        if tls and tls.server_name:
            self._options = (*options, ("grpc.ssl_target_name_override", tls.server_name))

    @property
    def follows_files(self) -> bool:
        """Return whether a channel may be outdated some day."""
        return bool(self._files)

    def open(self) -> grpc.aio.Channel:
        """Return a channel for the event loop that runs."""
        if (credentials := self._credentials()) is None:
            return grpc.aio.insecure_channel(self.target, options=self._options)
        return grpc.aio.secure_channel(self.target, credentials, options=self._options)

    def open_blocking(self) -> grpc.Channel:
        """Return a channel for threads, with the certificates as they are now."""
        self._look()
        if (credentials := self._credentials()) is None:
            return grpc.insecure_channel(self.target, options=self._options)
        return grpc.secure_channel(self.target, credentials, options=self._options)

    def newer_files(self) -> bool:
        """Return whether channels made before now have certificates that were replaced.

        Cheap enough to be asked with every call: it looks at the files once a second.
        """
        if not self._files or time.monotonic() < self._looked + LOOK_AGAIN:
            return False
        return self._look()

    def _look(self) -> bool:
        self._looked = time.monotonic()
        try:
            pem = self._files.changed()
        except ConfigurationError as error:
            log.warning(
                "certificates for %s not taken, the ones before stay in use: %s",
                self.target,
                error.message,
            )
            return False
        if pem is None:
            return False
        self._pem = pem
        return True

    def _credentials(self) -> grpc.ChannelCredentials | None:
        return None if self._tls is None else _channel_credentials(self._pem)


def _channel_credentials(pem: Pem) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(pem.ca, pem.key, pem.certificate)
