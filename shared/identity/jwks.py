"""The keys that an issuer signs tokens with (JSON Web Key Set, RFC 7517), and their rotation.

    every few minutes, and when a token names a key that is not here  ──►  source  ──►  all keys

An issuer that is away takes nothing from anybody: its last keys stay. Keys that it withdraws are
gone with the next look.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple, Protocol

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from prometheus_client import Counter, Gauge

from mainstay.errors import ConfigurationError, UnavailableError
from shared.identity import refusals

MIN_FORCED_INTERVAL = 5.0
"""Seconds between two looks that tokens force: an issuer is not asked for every made-up key."""
LONGEST_FIND = 1.0
MAX_WAITING = 1_000
"""Calls that wait for a look at the same time; more are told to come again."""
MAX_KEYS = 100
MAX_KID = 200
MIN_RSA_BITS = 2_048
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}

fetches = Counter(
    "mainstay_identity_jwks_fetches_total",
    "Looks at the keys of the issuer of tokens.",
    ["outcome"],
)
keys_held = Gauge("mainstay_identity_jwks_keys", "Keys of the issuer that this process knows.")

log = structlog.get_logger()


class KeyName(NamedTuple):
    """What a token says of the key that signed it."""

    kid: str
    algorithm: str


Keys = Mapping[KeyName, jwt.PyJWK]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JWKS as it was read, and for how many seconds it need not be read again."""

    text: str
    good_for: float


class Source(Protocol):
    """Where a JWKS is.

    Attributes:
        own: Whether it is the operators': one that is wrong will not get better by itself.
        retry_after: Seconds until it is read again after that failed.

    """

    own: bool
    retry_after: float

    async def read(self) -> Document:
        """Return it; raises UnavailableError, or ConfigurationError where it is not."""
        ...

    async def close(self) -> None:
        """Let go of what reading needed."""
        ...


class Jwks:
    """Knows the keys of an issuer. `clock` is monotonic, in seconds."""

    def __init__(
        self, source: Source, algorithms: Sequence[str], *, clock: Callable[[], float]
    ) -> None:
        self._source = source
        self._algorithms = algorithms
        self._clock = clock
        self._text: str | None = None
        self._keys: Keys = {}
        self._away = True
        self._warned = False
        self._next_forced = -inf
        self._waiting = 0
        self._pause = 0.0
        self._looking = asyncio.Lock()
        self._forced: asyncio.Task[None] | None = None
        self.generation = 0
        """Rises when there are other keys: what was proved with those before is worth nothing."""

    async def start(self) -> None:
        """Read the keys; an issuer that is away, or not itself, is read later.

        Raises ConfigurationError for what is the operators' own and not fit.
        """
        try:
            self._take(await self._source.read())
        except UnavailableError as error:
            self._warn(error.message)
        except ConfigurationError as error:
            if self._source.own:
                raise
            self._warn(error.message)

    async def close(self) -> None:
        """Stop looking."""
        if self._forced is not None:
            self._forced.cancel()
            await asyncio.gather(self._forced, return_exceptions=True)
        await self._source.close()

    async def run(self) -> None:
        """Look again and again; for a background task, which must not end."""
        while True:
            await asyncio.sleep(self._pause * random.uniform(0.9, 1.1))  # noqa: S311
            await self.look()

    def key(self, name: KeyName) -> jwt.PyJWK | None:
        """Return the key of that name."""
        return self._keys.get(name)

    async def find(self, name: KeyName) -> jwt.PyJWK | None:
        """Return the key of that name, after a look if there was none just now.

        Raises UnavailableError while the issuer is away and has never shown such a key.
        """
        found = self.key(name)
        if found is not None:
            return found
        if self._waiting >= MAX_WAITING:
            raise refusals.unavailable()
        looking = self._forced_look()
        self._waiting += 1
        try:
            await asyncio.wait({looking}, timeout=LONGEST_FIND)
        finally:
            self._waiting -= 1
        found = self.key(name)
        if found is None and (self._away or not looking.done()):
            raise refusals.unavailable()
        return found

    def _forced_look(self) -> asyncio.Task[None]:
        """Return the look for all who wait, or the last one while it is too early for another."""
        last = self._forced
        if last is not None and (not last.done() or self._clock() < self._next_forced):
            return last
        self._next_forced = self._clock() + MIN_FORCED_INTERVAL
        self._forced = asyncio.create_task(self.look(), name="identity-jwks")
        return self._forced

    async def look(self) -> None:
        """Read the keys; raises nothing."""
        async with self._looking:
            try:
                self._take(await self._source.read())
            except (UnavailableError, ConfigurationError) as error:
                self._warn(error.message)
            except Exception:
                # A fault in here must not end the service: the last keys stay.
                log.exception("jwks_not_read")

    def _take(self, document: Document) -> None:
        if document.text != self._text:
            keys = parse_jwks(document.text, self._algorithms)
            self._keys, self._text = keys, document.text
            self.generation += 1
            keys_held.set(len({name.kid for name in keys}))
            log.info("jwks_loaded", kids=sorted({name.kid for name in keys}))
        self._away = self._warned = False
        self._pause = document.good_for
        fetches.labels("ok").inc()

    def _warn(self, reason: str) -> None:
        """Say so once for as long as it lasts."""
        fetches.labels("failed").inc()
        self._away = True
        self._pause = self._source.retry_after
        if not self._warned:
            self._warned = True
            log.warning("jwks_not_readable", error=reason)


def parse_jwks(text: str, algorithms: Sequence[str]) -> Keys:
    """Return the keys that can check signatures by some of the algorithms.

    Others are left out: an issuer may have keys for encryption, or of kinds that come later. Raises
    ConfigurationError for what is no JWKS, or has no key that is of use.
    """
    try:
        document = json.loads(text)
        listed = document["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise ConfigurationError(
            "what MAINSTAY_AUTH_JWT_JWKS names is no JWKS; it should be JSON with a list `keys`"
        ) from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ConfigurationError(
            f"the JWKS that MAINSTAY_AUTH_JWT_JWKS names should list 1 to {MAX_KEYS} keys"
        )
    keys = {name: key for each in listed for name, key in _usable(each, algorithms)}
    if not keys:
        raise ConfigurationError(
            "the JWKS that MAINSTAY_AUTH_JWT_JWKS names has no public key with a `kid` for "
            f"{', '.join(algorithms)}; see MAINSTAY_AUTH_JWT_ALGORITHMS"
        )
    return keys


def _usable(listed: Any, algorithms: Sequence[str]) -> Sequence[tuple[KeyName, jwt.PyJWK]]:
    if not isinstance(listed, dict) or not _is_for_checking(listed):
        return ()
    kid, found = listed["kid"], []
    for algorithm in algorithms:
        if algorithm in _algorithms_of(listed):
            try:
                key = jwt.PyJWK(listed, algorithm)
            except jwt.PyJWTError:
                # Without the reason, which quotes the key.
                log.warning("jwks_key_skipped", kid=kid, algorithm=algorithm)
                continue
            if not _is_short(key.key):
                found.append((KeyName(kid, algorithm), key))
    return found


def _is_for_checking(listed: Mapping[str, Any]) -> bool:
    """Return whether it is a public key for signatures; a private one is everybody's by now."""
    operations = listed.get("key_ops", ["verify"])
    return (
        isinstance(kid := listed.get("kid"), str)
        and 0 < len(kid) <= MAX_KID
        and isinstance(listed.get("alg"), str | None)
        and listed.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in listed
    )


def _algorithms_of(listed: Mapping[str, Any]) -> frozenset[str]:
    """Return the algorithms that a key is for: its kind's, or the one that it names of these."""
    match listed.get("kty"):
        case "RSA":
            possible = {f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512)}
        case "EC":
            possible = {_BY_CURVE.get(str(listed.get("crv")), "")}
        case "OKP":
            possible = {"EdDSA"}
        case _:
            possible = set()
    named = listed.get("alg")
    # RFC 9864 gave the two curves of EdDSA names of their own.
    named = "EdDSA" if named in {"Ed25519", "Ed448"} else named
    return frozenset(possible if named is None else possible & {str(named)})


def _is_short(key: Any) -> bool:
    return isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS
