"""Settings from the environment: typed, prefixed `MAINSTAY_`, every mistake reported at once."""

import sys
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator

from shared.process_settings import PREFIX, ProcessSettings

EXIT_CONFIGURATION = 2
MIN_SERVICE_KEY = 32
PROOFS = frozenset({"api-key", "jwt", "mtls"})
JWT_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Those with public keys: with a secret shared by all, whoever checks a token could make one."""
_NEEDED = {
    "api-key": ("postgres_url",),
    "jwt": ("auth_jwt_issuer", "auth_jwt_audience", "auth_jwt_jwks"),
    "mtls": ("auth_identities", "tls_client_ca"),
}


class CommonSettings(ProcessSettings):
    """What every service can be told. Services add fields that begin with their name."""

    brought: ClassVar[frozenset[str]] = frozenset()
    """Fields that whoever reads these settings sets where they are not."""

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Beyond loopback callers have to authenticate "
        "(MAINSTAY_AUTH), over TLS or over what MAINSTAY_PLAINTEXT vouches for.",
    )
    auth: str = Field(
        "off",
        description="How callers prove who they are: off (on loopback only), or any of api-key, "
        "jwt and mtls, separated by commas.",
    )
    auth_grace: float = Field(
        900.0,
        ge=0,
        le=86_400,
        description="How long API keys that were good go on being good while PostgreSQL, where "
        "they are kept, is away, in seconds.",
    )
    auth_jwt_issuer: str | None = Field(
        None, description="The issuer (iss) whose tokens are accepted. Required for jwt."
    )
    auth_jwt_audience: str | None = Field(
        None, description="The audience (aud) that tokens must name. Required for jwt."
    )
    auth_jwt_jwks: str | None = Field(
        None,
        description="The issuer's keys, a JWKS: an https:// URL or the path of a file. Required "
        "for jwt.",
    )
    auth_jwt_algorithms: str = Field(
        "RS256,ES256,EdDSA",
        description="Signature algorithms of tokens that are accepted, separated by commas; public "
        "keys only.",
    )
    auth_jwt_tenant_claim: str = Field(
        "tenant", min_length=1, description="The claim of a token that names its tenant, or *."
    )
    auth_jwt_scope_claim: str = Field(
        "scope",
        min_length=1,
        description="The claim of a token that lists its scopes: separated by spaces, or an array.",
    )
    auth_identities: Path | None = Field(
        None,
        description="YAML file: which client certificate is which principal. Required for mtls.",
    )
    service_key: SecretStr | None = Field(
        None,
        description="A secret of at least 32 characters by which the services of the suite know "
        "each other; while it is changed the new and the old one, separated by a comma.",
    )
    tls_certificate: Path | None = Field(
        None, description="Certificate chain to serve with, PEM; read again when it changes."
    )
    tls_key: Path | None = Field(None, description="Private key of the certificate, PEM.")
    tls_client_ca: Path | None = Field(
        None,
        description="CAs that certificates of clients are checked against, PEM. Set, no gRPC "
        "client is served without one.",
    )
    tls_http: bool = Field(
        True,
        description="Serve HTTP over TLS too, where there is a certificate. Off for balancers and "
        "probes that cannot.",
    )
    tls_ca: Path | None = Field(
        None,
        description="CAs of the other services' certificates, PEM; with it, or with a certificate "
        "of this service's own, they are called over TLS. Unset, the system's CAs.",
    )
    plaintext: bool = Field(
        False,
        validate_default=True,
        description="Serve beyond loopback without TLS, because something else encrypts: a mesh, "
        "or the container network of one machine.",
    )

    @property
    def authenticates(self) -> bool:
        """Return whether callers have to say who they are."""
        return self.auth != "off"

    @property
    def service_keys(self) -> tuple[str, ...]:
        """Return the secrets of the suite's own services: the first is sent, all are accepted."""
        return _parts(self.service_key.get_secret_value()) if self.service_key else ()

    @property
    def auth_proofs(self) -> frozenset[str]:
        """Return the ways in which callers may prove who they are."""
        return frozenset(_parts(self.auth)) if self.authenticates else frozenset()

    @property
    def jwt_algorithms(self) -> tuple[str, ...]:
        """Return the signature algorithms that are accepted."""
        return _parts(self.auth_jwt_algorithms)

    @field_validator("auth")
    @classmethod
    def _names_proofs(cls, auth: str) -> str:
        proofs = _parts(auth)
        if auth != "off" and (not proofs or set(proofs) - PROOFS):
            raise ValueError(f"should be off, or any of {', '.join(sorted(PROOFS))}")
        return auth

    @field_validator("auth_jwt_algorithms")
    @classmethod
    def _names_algorithms(cls, algorithms: str) -> str:
        named = _parts(algorithms)
        if not named or set(named) - JWT_ALGORITHMS:
            raise ValueError(f"should be any of {', '.join(sorted(JWT_ALGORITHMS))}")
        return algorithms

    @field_validator("service_key")
    @classmethod
    def _is_long(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            keys = _parts(key.get_secret_value())
            if not keys or min(map(len, keys)) < MIN_SERVICE_KEY:
                raise ValueError(f"should have at least {MIN_SERVICE_KEY} characters")
            if not all(each.isascii() and each.isprintable() and " " not in each for each in keys):
                raise ValueError("should be printable ASCII characters without spaces")
        return key

    @field_validator("plaintext")
    @classmethod
    def _is_safe(cls, plaintext: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        """Refuse to serve callers that nobody knows, or secrets that anybody reads.

        Here, after all fields that it looks at, so that its mistakes are told with theirs.
        """
        found = info.data
        mistakes = [*_missing(found, brought=cls.brought), *_exposed(found, plaintext=plaintext)]
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return plaintext


class RedisSettings(CommonSettings):
    """Settings of a service that cannot do without Redis."""

    redis_url: SecretStr = Field(
        description="Required. redis://[user:password@]host:port/db, or rediss:// for TLS; several "
        "nodes of a Redis Cluster separated by commas."
    )


class PostgresSettings(CommonSettings):
    """Settings of a service that cannot do without PostgreSQL."""

    postgres_url: SecretStr = Field(
        description="Required. postgresql://user:password@host:port/database?sslmode=require."
    )


S = TypeVar("S", bound=ProcessSettings)


def load_settings(settings_type: type[S]) -> S:
    """Read the settings, or print every mistake and exit with status 2."""
    try:
        return settings_type()
    except ValidationError as error:
        sys.stderr.write(describe_mistakes(error))
        raise SystemExit(EXIT_CONFIGURATION) from None


def describe_mistakes(error: ValidationError) -> str:
    """Return one line for each wrong setting, without its value: it may be a secret."""
    lines = ["Wrong settings (.env.example describes them all):"]
    for mistake in error.errors(include_url=False, include_input=False, include_context=False):
        said = _said(mistake["msg"])
        if said.startswith(PREFIX):  # of several settings together, which it names itself
            lines += [f"  {each}" for each in said.splitlines()]
            continue
        name = PREFIX + "_".join(str(part) for part in mistake["loc"]).upper()
        what = "is not set" if mistake["type"] == "missing" else said
        lines.append(f"  {name}: {what}")
    return "\n".join(lines) + "\n"


def _missing(found: Mapping[str, Any], *, brought: frozenset[str]) -> Iterator[str]:
    """Yield what must be set because of what is; fields that are wrong by themselves are absent.

    What is `brought` need not be set.
    """
    auth = found.get("auth", "off")
    for proof in () if auth == "off" else sorted(_parts(auth)):
        for field in _NEEDED[proof]:
            if field in found and found[field] is None and field not in brought:
                yield f"{PREFIX}{field.upper()}: is not set, and {PREFIX}AUTH={proof} needs it"
    if (found.get("tls_certificate") is None) != (found.get("tls_key") is None):
        yield f"{PREFIX}TLS_KEY: goes with {PREFIX}TLS_CERTIFICATE; set both or none"
    if found.get("tls_client_ca") is not None and found.get("tls_certificate") is None:
        yield (
            f"{PREFIX}TLS_CLIENT_CA: clients show certificates over TLS only; set "
            f"{PREFIX}TLS_CERTIFICATE"
        )


def _exposed(found: Mapping[str, Any], *, plaintext: bool) -> Iterator[str]:
    """Yield what is missing to serve the network."""
    if "host" not in found or is_loopback(found["host"]):
        return
    if found.get("auth") == "off":
        yield (
            f"{PREFIX}HOST: would serve callers that do not authenticate to the network; set "
            f"{PREFIX}AUTH, or use 127.0.0.1"
        )
    if found.get("tls_certificate") is None and not plaintext:
        yield (
            f"{PREFIX}HOST: would serve the network without TLS; set {PREFIX}TLS_CERTIFICATE and "
            f"{PREFIX}TLS_KEY, or {PREFIX}PLAINTEXT=true where something else encrypts"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parts(setting: str) -> tuple[str, ...]:
    return tuple(part for each in setting.split(",") if (part := each.strip()))


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
