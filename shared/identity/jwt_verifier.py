"""JSON Web Tokens (RFC 7519): whose a token is, if its issuer signed it for us and it is in time.

The algorithms are those of the settings, never the token's choice, and the key is one that was
published for the algorithm. What a token proved is remembered for five minutes at most.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import jwt

from mainstay.errors import MainstayError
from shared.identity import refusals
from shared.identity.grants import is_name, known_scopes, tenant_named
from shared.identity.jwks import Jwks, KeyName
from shared.identity.principal import Principal

LEEWAY = 30.0
"""Seconds that the clocks of an issuer and this machine may differ."""
REQUIRED = ("iss", "aud", "exp", "sub")
MAX_TOKEN = 8_192
MAX_REMEMBERED = 10_000
LONGEST_REMEMBERED = 300.0
MAX_SCOPES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What tokens have to say to be accepted."""

    issuer: str
    audience: str
    algorithms: Sequence[str]
    tenant_claim: str
    scope_claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remembered:
    principal: Principal = field(repr=False)
    until: float
    generation: int


class JwtVerifier:
    """Knows whose tokens are. `clock` is monotonic, `now` is in seconds since 1970."""

    def __init__(
        self,
        rules: TokenRules,
        jwks: Jwks,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._jwks = jwks
        self._clock = clock
        self._now = now
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()

    def known(self, token: str) -> Principal | None:
        """Return whose a token is, None if its key has to be looked for.

        Raises AuthenticationError for nobody's.
        """
        if len(token) > MAX_TOKEN or not token.isascii():
            raise refusals.invalid()
        digest = sha256(token.encode("ascii")).digest()
        found = self._remembered.get(digest)
        if (
            found is not None
            and self._clock() < found.until
            and found.generation == self._jwks.generation
        ):
            self._remembered.move_to_end(digest)
            return found.principal
        key = self._jwks.key(self._key_name(token))
        return None if key is None else self._verified(token, key, digest)

    async def find(self, token: str) -> Principal:
        """Return whose a token is after a look at the issuer's keys; waits for a second at most.

        Raises AuthenticationError for nobody's, and UnavailableError while the issuer is away.
        """
        key = await self._jwks.find(self._key_name(token))
        if key is None:
            raise refusals.invalid()
        return self._verified(token, key, sha256(token.encode("ascii")).digest())

    def _key_name(self, token: str) -> KeyName:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise refusals.invalid() from None
        kid, algorithm = header.get("kid"), header.get("alg")
        if (
            not isinstance(kid, str)
            or not isinstance(algorithm, str)
            or algorithm not in self._rules.algorithms
            or "crit" in header
        ):
            raise refusals.invalid()
        return KeyName(kid, algorithm)

    def _verified(self, token: str, key: jwt.PyJWK, digest: bytes) -> Principal:
        claims = self._claims(token, key)
        principal = principal_of(claims, self._rules)
        if principal is None:
            raise refusals.invalid()
        left = min(claims["exp"] - self._now(), LONGEST_REMEMBERED)
        if left > 0:
            self._remember(digest, principal, self._clock() + left)
        return principal

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        rules = self._rules
        failure: MainstayError
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=rules.issuer,
                audience=rules.audience,
                leeway=LEEWAY,
                options={"require": [*REQUIRED]},
            )
        except jwt.ExpiredSignatureError:
            failure = refusals.expired()
        except jwt.PyJWTError:
            failure = refusals.invalid()
        else:
            if isinstance(claims["exp"], int | float):
                return claims
            failure = refusals.invalid()
        # Not `from` the cause, whose text may quote the token.
        raise failure from None

    def _remember(self, digest: bytes, principal: Principal, until: float) -> None:
        self._remembered[digest] = _Remembered(
            principal=principal, until=until, generation=self._jwks.generation
        )
        self._remembered.move_to_end(digest)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)


def principal_of(claims: Mapping[str, Any], rules: TokenRules) -> Principal | None:
    """Return whom claims that were verified speak of; None without a tenant or a fit subject."""
    tenant, name = tenant_named(claims.get(rules.tenant_claim)), claims.get("sub")
    if tenant is None or not is_name(name):
        return None
    return Principal(
        name=str(name),
        tenant=tenant,
        scopes=known_scopes(_listed(claims.get(rules.scope_claim))),
        proof="jwt",
    )


def _listed(claim: Any) -> Sequence[str]:
    """Return the scopes of a claim: words of a text (RFC 8693), or an array."""
    if isinstance(claim, str):
        claim = claim.split()
    if not isinstance(claim, list):
        return ()
    return [each for each in claim[:MAX_SCOPES] if isinstance(each, str)]
