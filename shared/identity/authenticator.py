"""Who calls: a header or a certificate becomes a principal, by whatever the settings accept.

    authorization: Bearer … ──seen before──────────────► API key        one look into a dictionary
                            ──one of ours──────────────► the suite
                            ──msk_…────────────────────► API key        (PostgreSQL, polled)
                            ──anything else────────────► JSON web token (the issuer's keys)
    no header ──────────────────────────────────────────► client certificate

Who sends a header is judged by it alone: one that is wrong is not made good by a certificate.
"""

import asyncio
import time
from typing import Any

import grpc

from shared.config import CommonSettings
from shared.identity import refusals
from shared.identity.api_key import PREFIX, parse
from shared.identity.jwks import Jwks
from shared.identity.jwks_sources import jwks_source
from shared.identity.jwt_verifier import JwtVerifier, TokenRules
from shared.identity.key_ring import KeyRing
from shared.identity.mtls import CertificateIdentities
from shared.identity.postgres_keys import PostgresKeys, identity_postgres
from shared.identity.principal import Principal
from shared.identity.service_keys import ServiceKeys

Context = grpc.aio.ServicerContext[Any, Any]

_SCHEME = "bearer"


class Authenticator:
    """A resource, and the `Gate` of calls: puts together what the settings accept."""

    name = "identity"

    def __init__(
        self,
        *,
        services: ServiceKeys,
        keys: KeyRing | None = None,
        tokens: JwtVerifier | None = None,
        jwks: Jwks | None = None,
        certificates: CertificateIdentities | None = None,
    ) -> None:
        self._services = services
        self._keys = keys
        self._tokens = tokens
        self._jwks = jwks
        self._certificates = certificates

    async def start(self) -> None:
        """Read what there is to read; what is away is awaited by `run`.

        Raises ConfigurationError for a setting that is refused.
        """
        for part in (self._keys, self._jwks):
            if part is not None:
                await part.start()

    async def close(self) -> None:
        """Let go of the stores."""
        for part in (self._keys, self._jwks):
            if part is not None:
                await part.close()

    async def run(self) -> None:
        """Keep up with what changes; for a background task, which does not end."""
        async with asyncio.TaskGroup() as tasks:
            for part in (self._keys, self._jwks, self._certificates):
                if part is not None:
                    tasks.create_task(part.run())
            await asyncio.Event().wait()

    def known(self, authorization: str, context: Context | None) -> Principal | None:
        """Return who that is if it is known without waiting, None if it has to be looked up.

        Raises AuthenticationError for what is surely nobody's.
        """
        if authorization or self._certificates is None or context is None:
            return self.known_bearer(authorization)
        properties = context.auth_context()
        principal = self._certificates.known(properties)
        if principal is None:
            raise refusals.invalid() if _has_certificate(properties) else refusals.missing()
        return principal

    async def find(self, authorization: str, context: Context | None) -> Principal:
        """Return who that is; waits for a second at most.

        Raises AuthenticationError for nobody, UnavailableError when that cannot be found out now.
        """
        if not authorization and (principal := self.known(authorization, context)) is not None:
            return principal
        return await self.find_bearer(authorization)

    def known_bearer(self, authorization: str) -> Principal | None:
        """Return whose a header is, as `known`, where there are no certificates: over HTTP."""
        if self._keys is not None:
            principal = self._keys.recall(authorization)
            if principal is not None:
                return principal
        token = _token(authorization)
        principal = self._services.known(token)
        if principal is not None:
            return principal
        if token.startswith(PREFIX):
            shown = parse(token)
            if shown is None or self._keys is None:
                raise refusals.invalid()
            return self._keys.known(shown, authorization)
        if self._tokens is None:
            raise refusals.invalid()
        return self._tokens.known(token)

    async def find_bearer(self, authorization: str) -> Principal:
        """Return whose a header is, as `find`."""
        principal = self.known_bearer(authorization)
        if principal is not None:
            return principal
        token = _token(authorization)
        if self._keys is not None and (shown := parse(token)) is not None:
            return await self._keys.find(shown, authorization)
        if self._tokens is None:
            raise refusals.invalid()
        return await self._tokens.find(token)


def _token(authorization: str) -> str:
    if not authorization:
        raise refusals.missing()
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != _SCHEME or not token:
        raise refusals.invalid()
    return token


def _has_certificate(properties: Any) -> bool:
    return "x509_pem_cert" in properties


def build_authenticator(settings: CommonSettings) -> Authenticator | None:
    """Return what knows callers; None where they do not authenticate.

    Raises ConfigurationError for a file that is not fit.
    """
    proofs = settings.auth_proofs
    if not proofs:
        return None
    jwks = _jwks(settings) if "jwt" in proofs else None
    return Authenticator(
        services=ServiceKeys(settings.service_keys),
        keys=_key_ring(settings) if "api-key" in proofs else None,
        tokens=None if jwks is None else _verifier(settings, jwks),
        jwks=jwks,
        certificates=_certificates(settings) if "mtls" in proofs else None,
    )


def _key_ring(settings: CommonSettings) -> KeyRing:
    assert settings.postgres_url is not None, "the settings check this"
    url = settings.postgres_url.get_secret_value()
    store = PostgresKeys(identity_postgres(url, migrate=settings.postgres_migrate))
    return KeyRing(store, grace=settings.auth_grace, clock=time.monotonic)


def _jwks(settings: CommonSettings) -> Jwks:
    assert settings.auth_jwt_jwks is not None, "the settings check this"
    source = jwks_source(settings.auth_jwt_jwks)
    return Jwks(source, settings.jwt_algorithms, clock=time.monotonic)


def _verifier(settings: CommonSettings, jwks: Jwks) -> JwtVerifier:
    assert settings.auth_jwt_issuer, "the settings check this"
    assert settings.auth_jwt_audience, "the settings check this"
    rules = TokenRules(
        issuer=settings.auth_jwt_issuer,
        audience=settings.auth_jwt_audience,
        algorithms=settings.jwt_algorithms,
        tenant_claim=settings.auth_jwt_tenant_claim,
        scope_claim=settings.auth_jwt_scope_claim,
    )
    return JwtVerifier(rules, jwks, clock=time.monotonic, now=time.time)


def _certificates(settings: CommonSettings) -> CertificateIdentities:
    assert settings.auth_identities is not None, "the settings check this"
    return CertificateIdentities(settings.auth_identities)
