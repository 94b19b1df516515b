"""JSON web tokens: which are accepted, of whom they speak, and for how long that is remembered."""

import hmac
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.errors import MainstayError
from shared.identity.jwks import Jwks
from shared.identity.jwks_sources import FileSource
from shared.identity.jwt_verifier import LEEWAY, MAX_TOKEN, JwtVerifier, TokenRules
from shared.identity.principal import Principal
from shared.rpc.call import Tenant
from tests.integration.identity.conftest import Clock
from tests.integration.identity.issuer import (
    AUDIENCE,
    ISSUER,
    Claims,
    Key,
    claims,
    ec_key,
    ed_key,
    jwks_of,
    raw_token,
    rsa_key,
)

INVALID, EXPIRED = "CREDENTIALS_INVALID", "CREDENTIALS_EXPIRED"
RULES = TokenRules(
    issuer=ISSUER,
    audience=AUDIENCE,
    algorithms=("RS256", "ES256", "EdDSA"),
    tenant_claim="tenant",
    scope_claim="scope",
)
EC, RSA, ED = ec_key(), rsa_key(), ed_key()

Verifying = Callable[..., Awaitable[JwtVerifier]]


@pytest.fixture
def verifying(tmp_path: Path, clock: Clock) -> Verifying:
    """Let a test have a verifier that knows some keys, by a file."""

    async def start(*keys: Key, rules: TokenRules = RULES) -> JwtVerifier:
        path = tmp_path / "jwks.json"
        path.write_text(jwks_of(*keys))
        jwks = Jwks(FileSource(path), rules.algorithms, clock=clock)
        await jwks.start()
        return JwtVerifier(rules, jwks, clock=clock, now=time.time)

    return start


@pytest.fixture
async def verifier(verifying: Verifying) -> JwtVerifier:
    """Provide one that knows three keys."""
    return await verifying(EC, RSA, ED)


def reason_of(verifier: JwtVerifier, token: str, *, of_no_key: str = "no such key") -> str:
    """Return why a token is refused; empty for one that is not."""
    try:
        return of_no_key if verifier.known(token) is None else ""
    except MainstayError as error:
        return error.reason


class TestAToken:
    @pytest.mark.parametrize("key", [EC, RSA, ED], ids=lambda key: key.algorithm)
    def test_is_its_subject(self, verifier: JwtVerifier, key: Key) -> None:
        """In its tenant, with its scopes expanded."""
        assert verifier.known(key.sign(claims())) == Principal(
            name="alice",
            tenant=Tenant("acme"),
            scopes=frozenset({"cache:read", "jobs:send", "jobs:read", "jobs:work", "jobs:admin"}),
            proof="jwt",
        )

    @pytest.mark.parametrize(
        ("scope", "scopes"),
        [
            ("cache:read  moon:land", {"cache:read"}),
            (["cache:read", "jobs:send", 7, None, "moon:*"], {"cache:read", "jobs:send"}),
            ("", set()),
            (None, set()),
            ({"cache:read": True}, set()),
        ],
    )
    def test_grants_what_we_know_of_its_scopes(
        self, verifier: JwtVerifier, scope: object, scopes: set[str]
    ) -> None:
        """In words or an array; those of other services are nothing to us."""
        principal = verifier.known(EC.sign(claims(scope=scope)))

        assert frozenset(scopes) == (principal and principal.scopes)

    async def test_names_tenant_and_scopes_in_claims_of_the_settings(
        self, verifying: Verifying
    ) -> None:
        """Whatever an issuer calls them."""
        rules = TokenRules(
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithms=("ES256",),
            tenant_claim="https://example.org/org",
            scope_claim="permissions",
        )
        verifier = await verifying(EC, rules=rules)
        told = claims(permissions=["cache:read"], **{"https://example.org/org": "*"})
        principal = verifier.known(EC.sign(told))

        assert principal is not None
        assert (Tenant("*"), frozenset({"cache:read"})) == (principal.tenant, principal.scopes)

    @pytest.mark.parametrize(
        "audience", [AUDIENCE, [AUDIENCE, "others"]], ids=["alone", "among others"]
    )
    def test_is_for_us_among_others(self, verifier: JwtVerifier, audience: object) -> None:
        """An array of audiences has to have ours."""
        assert "" == reason_of(verifier, EC.sign(claims(aud=audience)))

    def test_may_be_without_a_time_to_begin(self, verifier: JwtVerifier) -> None:
        """Most issuers name none; where there is one it counts."""
        assert "" == reason_of(verifier, EC.sign(claims(nbf=None)))


class TestATokenIsRefused:
    @pytest.mark.parametrize(
        "changes",
        [
            {"tenant": None},
            {"tenant": ""},
            {"tenant": "two words"},
            {"tenant": ["acme"]},
            {"tenant": "a" * 65},
            {"iss": None},
            {"iss": "https://issuer.example.org"},
            {"aud": None},
            {"aud": "others"},
            {"aud": []},
            {"exp": None},
            {"exp": "soon"},
            {"exp": True},
            {"exp": float("inf")},
            {"exp": float("nan")},
            {"nbf": int(time.time()) + 3_600},
            {"iat": int(time.time()) + 3_600},
            {"sub": None},
            {"sub": ""},
            {"sub": 7},
            {"sub": "a" * 129},
            {"sub": "a\nb"},
            {"sub": "mainstay"},
            {"sub": "anonymous"},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_for_what_it_claims(self, verifier: JwtVerifier, changes: Claims) -> None:
        """With one reason for all, so that nobody learns which."""
        told = {**claims(), **changes}
        token = EC.sign({name: value for name, value in told.items() if value is not None})

        assert reason_of(verifier, token) in {INVALID} | ({EXPIRED} if "exp" in changes else set())

    def test_when_it_has_expired(self, verifier: JwtVerifier) -> None:
        """Which its owner is told, since only the issuer could have signed it."""
        assert EXPIRED == reason_of(verifier, EC.sign(claims(exp=int(time.time()) - 60)))

    @pytest.mark.parametrize(
        "token",
        [
            raw_token({"alg": "none", "kid": "ec"}, claims(), b""),
            raw_token({"alg": "None", "kid": "ec"}, claims(), b""),
            raw_token({"alg": "HS256", "kid": "ec"}, claims(), b"x" * 32),
            raw_token({"alg": ["ES256"], "kid": "ec"}, claims(), b"x" * 64),
            raw_token({"alg": "ES256"}, claims(), b"x" * 64),
            raw_token({"alg": "ES256", "kid": 7}, claims(), b"x" * 64),
            raw_token({"alg": "ES256", "kid": "ec"}, claims(), b"x" * 64),
            raw_token({"alg": "RS256", "kid": "ec"}, claims(), b"x" * 64),
            EC.sign_under({"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": True}, claims()),
            EC.sign(claims())[:-2],
            ec_key("ec").sign(claims()),
            f"{EC.sign(claims())}.more",
            EC.sign(claims(filler="x" * MAX_TOKEN)),
            "a.b.c",
            "..",
            "ä.b.c",
            "x",
        ],
    )
    def test_for_how_it_is_signed(self, verifier: JwtVerifier, token: str) -> None:
        """By nobody, by a secret, by another's key, or in a way that nobody can read."""
        assert INVALID == reason_of(verifier, token, of_no_key=INVALID)

    def test_when_a_public_key_is_its_secret(self, verifier: JwtVerifier) -> None:
        """Whoever took the algorithm from the token would accept it."""
        pem = RSA.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        unsigned = raw_token({"alg": "HS256", "kid": "rsa"}, claims(), b"").rstrip(".")
        signature = hmac.new(pem, unsigned.encode(), sha256).digest()
        forged = raw_token({"alg": "HS256", "kid": "rsa"}, claims(), signature)

        assert INVALID == reason_of(verifier, forged)

    async def test_by_an_algorithm_that_is_not_among_ours(self, verifying: Verifying) -> None:
        """Though the issuer has published a key for it, and signed it."""
        strong = rsa_key("rsa", algorithm="PS256")
        verifier = await verifying(EC, strong)

        assert INVALID == reason_of(verifier, strong.sign(claims()))

    async def test_by_another_algorithm_than_its_key_is_for(self, verifying: Verifying) -> None:
        """A key that says what it is for signs nothing else."""
        rules = TokenRules(
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithms=("RS256", "PS256"),
            tenant_claim="tenant",
            scope_claim="scope",
        )
        verifier = await verifying(RSA, rules=rules)
        with patch.object(Key, "published", {**RSA.published, "alg": "PS256"}):
            strict = await verifying(RSA, rules=rules)

        assert "" == reason_of(verifier, RSA.sign(claims()))
        assert "no such key" == reason_of(strict, RSA.sign(claims()))

    def test_without_a_word_of_it_in_the_error(self, verifier: JwtVerifier) -> None:
        """Nor in what it comes from, which logs would show."""
        token = EC.sign(claims(iss="https://others.example.org"))
        with pytest.raises(MainstayError) as caught:
            verifier.known(token)

        assert token not in repr(caught.value) + str(caught.value)
        assert (None, True) == (caught.value.__cause__, caught.value.__suppress_context__)


class TestTheLeeway:
    # To the second or so: the library reads the clock of the machine.
    FAR = st.integers(min_value=2, max_value=10**6)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(late=FAR)
    def test_is_thirty_seconds_after_the_end(self, verifier: JwtVerifier, late: int) -> None:
        """A token is good until then, and not longer."""
        exp = int(time.time()) - late
        expected = "" if late < LEEWAY - 1 else EXPIRED
        if abs(late - LEEWAY) <= 1:
            return

        assert expected == reason_of(verifier, EC.sign(claims(exp=exp)))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(early=FAR)
    def test_is_thirty_seconds_before_the_beginning(
        self, verifier: JwtVerifier, early: int
    ) -> None:
        """As much, and not more."""
        nbf = int(time.time()) + early
        expected = "" if early < LEEWAY - 1 else INVALID
        if abs(early - LEEWAY) <= 2:
            return

        assert expected == reason_of(verifier, EC.sign(claims(nbf=nbf, exp=nbf + 60)))


class TestWhatIsRemembered:
    def test_is_not_verified_again_for_five_minutes(
        self, verifier: JwtVerifier, clock: Clock
    ) -> None:
        """By the digest of the token, which is not kept itself."""
        token = EC.sign(claims())
        with patch.object(jwt, "decode", wraps=jwt.decode) as decoded:
            for seconds in (0, 290, 20):
                clock.pass_by(seconds)
                assert "" == reason_of(verifier, token)

        assert 2 == decoded.call_count
        assert token not in repr(vars(verifier))

    def test_is_forgotten_when_the_token_ends(self, verifier: JwtVerifier, clock: Clock) -> None:
        """Without the leeway: then it is looked at again."""
        token = EC.sign(claims(exp=int(time.time()) + 10))
        with patch.object(jwt, "decode", wraps=jwt.decode) as decoded:
            for seconds in (0, 5, 6):
                clock.pass_by(seconds)
                reason_of(verifier, token)

        assert 2 == decoded.call_count

    def test_is_bounded(self, verifier: JwtVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was not asked for longest goes first."""
        monkeypatch.setattr("shared.identity.jwt_verifier.MAX_REMEMBERED", 2)
        first, second, third = (EC.sign(claims(jti=str(number))) for number in range(3))
        with patch.object(jwt, "decode", wraps=jwt.decode) as decoded:
            for token in (first, second, first, third, first, second):
                assert "" == reason_of(verifier, token)

        assert 4 == decoded.call_count
