"""The keys of an issuer, over real HTTPS and in files: rotation, absence, and what is too much."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mainstay.errors import ConfigurationError, MainstayError, UnavailableError
from shared.identity import jwks_sources
from shared.identity.jwks import Jwks, KeyName, Source, parse_jwks
from shared.identity.jwks_sources import FileSource, HttpSource, jwks_source
from shared.identity.jwt_verifier import JwtVerifier, TokenRules
from tests.integration.identity.conftest import Clock
from tests.integration.identity.issuer import (
    AUDIENCE,
    ISSUER,
    Authority,
    JwksServer,
    claims,
    ec_key,
    ed_key,
    jwks_of,
    rsa_key,
    serving,
)
from tests.integration.shared.waiting import until

INVALID, AWAY = "CREDENTIALS_INVALID", "IDENTITY_UNAVAILABLE"
ALGORITHMS = ("RS256", "ES256", "EdDSA")
OLD, NEW = ec_key("old"), ec_key("new")

Verifying = Callable[[Source], Awaitable[tuple[JwtVerifier, Jwks]]]


@pytest.fixture
def authority() -> Authority:
    """Provide a CA that nobody trusts by default."""
    return Authority.make()


@pytest.fixture
async def issuer(authority: Authority, tmp_path: Path) -> AsyncIterator[JwksServer]:
    """Serve the old key over HTTPS."""
    async with serving(jwks_of(OLD), tls=authority.server_tls(tmp_path)) as server:
        yield server


@pytest.fixture
async def verifying(clock: Clock) -> AsyncIterator[Verifying]:
    """Let a test verify tokens by the keys of a source."""
    opened: list[Jwks] = []

    async def start(source: Source) -> tuple[JwtVerifier, Jwks]:
        jwks = Jwks(source, ALGORITHMS, clock=clock)
        opened.append(jwks)
        await jwks.start()
        rules = TokenRules(
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithms=ALGORITHMS,
            tenant_claim="tenant",
            scope_claim="scope",
        )
        return JwtVerifier(rules, jwks, clock=clock, now=time.time), jwks

    yield start
    for each in opened:
        await each.close()


async def reason(verifier: JwtVerifier, token: str) -> str:
    """Return why a token is refused after all that can be done; empty for one that is not."""
    try:
        if verifier.known(token) is None:
            await verifier.find(token)
    except MainstayError as error:
        return error.reason
    return ""


class TestRotation:
    async def test_takes_a_new_key_when_a_token_names_it(
        self, verifying: Verifying, issuer: JwksServer, authority: Authority
    ) -> None:
        """At once, with the old one beside it; then the old one goes, and what it had signed."""
        verifier, jwks = await verifying(HttpSource(issuer.url, trust=authority.trust()))
        old = OLD.sign(claims())
        before = await reason(verifier, old)
        issuer.text = jwks_of(OLD, NEW)
        both = [await reason(verifier, NEW.sign(claims())), await reason(verifier, old)]
        issuer.text = jwks_of(NEW)
        await jwks.look()
        after = [await reason(verifier, NEW.sign(claims())), await reason(verifier, old)]

        assert ("", ["", ""], ["", INVALID]) == (before, both, after)

    async def test_asks_the_issuer_once_for_many_made_up_keys(
        self, verifying: Verifying, issuer: JwksServer, authority: Authority, clock: Clock
    ) -> None:
        """And again some seconds later."""
        verifier, _ = await verifying(HttpSource(issuer.url, trust=authority.trust()))
        tokens = [ec_key(f"made up {number}").sign(claims()) for number in range(50)]
        reasons = [await reason(verifier, token) for token in tokens]
        reasons += await asyncio.gather(*(reason(verifier, token) for token in tokens))
        at_once = issuer.fetches
        clock.pass_by(6)
        reasons += await asyncio.gather(*(reason(verifier, token) for token in tokens))

        assert ({INVALID}, 2, 3) == (set(reasons), at_once, issuer.fetches)

    async def test_looks_again_by_itself(
        self,
        verifying: Verifying,
        issuer: JwksServer,
        authority: Authority,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As often as the issuer wants within bounds: no token has to name the new key."""
        monkeypatch.setattr(jwks_sources, "SHORTEST", 0.05)
        _, jwks = await verifying(HttpSource(issuer.url, trust=authority.trust()))
        running = asyncio.create_task(jwks.run())
        issuer.text = jwks_of(NEW)
        await until(lambda: jwks.key(KeyName("new", "ES256")))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        assert jwks.key(KeyName("old", "ES256")) is None


class TestAnIssuerThatIsAway:
    async def test_takes_nothing_from_anybody(
        self, verifying: Verifying, issuer: JwksServer, authority: Authority
    ) -> None:
        """Its last keys stay; of others nobody can tell."""
        verifier, jwks = await verifying(HttpSource(issuer.url, trust=authority.trust()))
        issuer.status = "503 Service Unavailable"
        await jwks.look()

        assert "" == await reason(verifier, OLD.sign(claims()))
        assert AWAY == await reason(verifier, NEW.sign(claims()))

    async def test_is_awaited_while_the_service_serves(
        self, verifying: Verifying, issuer: JwksServer, authority: Authority
    ) -> None:
        """A start does not wait for it, nor fail for an answer that is not its own."""
        issuer.text = "<html>Please log in</html>"
        verifier, jwks = await verifying(HttpSource(issuer.url, trust=authority.trust()))
        before = await reason(verifier, OLD.sign(claims()))
        issuer.text = jwks_of(OLD)
        await jwks.look()

        assert (AWAY, "") == (before, await reason(verifier, OLD.sign(claims())))

    async def test_holds_nobody_up_for_longer_than_a_second(
        self, verifying: Verifying, issuer: JwksServer, authority: Authority
    ) -> None:
        """When it accepts connections and says nothing."""
        verifier, _ = await verifying(HttpSource(issuer.url, trust=authority.trust()))
        issuer.silent = True
        began = time.monotonic()
        refused = await reason(verifier, NEW.sign(claims()))

        assert (AWAY, True) == (refused, time.monotonic() - began < 1.5)


class TestFetching:
    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"text": " " * (512 * 1024 + 1)}, "more than 524288 bytes"),
            ({"status": "302 Found", "headers": "location: /other\r\n"}, "status 302"),
            ({"status": "404 Not Found"}, "status 404"),
            ({"compressed": True}, "is compressed"),
        ],
        ids=["too large", "elsewhere", "missing", "compressed"],
    )
    async def test_refuses_what_is_not_simply_the_document(
        self, issuer: JwksServer, authority: Authority, changes: dict[str, Any], what: str
    ) -> None:
        """It is read as far as it may be large, from where it was looked for, as it is."""
        for name, value in changes.items():
            setattr(issuer, name, value)
        source = HttpSource(issuer.url, trust=authority.trust())
        with pytest.raises(UnavailableError, match=what):
            await source.read()
        await source.close()

    async def test_is_over_within_seconds(
        self, issuer: JwksServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the issuer does."""
        monkeypatch.setattr(jwks_sources, "LONGEST_FETCH", 0.3)
        issuer.silent = True
        source = HttpSource(issuer.url, trust=authority.trust())
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="cannot be fetched"):
            await source.read()
        await source.close()

        assert time.monotonic() - began < 2

    async def test_trusts_nobody_who_is_not_trusted(self, issuer: JwksServer) -> None:
        """A certificate of a CA that the system does not know."""
        source = HttpSource(issuer.url)
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await source.read()
        await source.close()

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("", 300),
            ("cache-control: public, max-age=450\r\n", 450),
            ("cache-control: max-age=1\r\n", 300),
            ("cache-control: max-age=99999999999999999999\r\n", 600),
            ("cache-control: max-age=soon\r\n", 300),
        ],
    )
    async def test_is_done_again_after_five_to_ten_minutes(
        self, issuer: JwksServer, authority: Authority, header: str, seconds: float
    ) -> None:
        """As the issuer says, within these bounds."""
        issuer.headers = header
        source = HttpSource(issuer.url, trust=authority.trust())
        document = await source.read()
        await source.close()

        assert seconds == document.good_for

    async def test_is_done_without_tls_on_this_machine_alone(self) -> None:
        """For development; anywhere else somebody could change the answer on its way."""
        async with serving(jwks_of(OLD)) as server:
            source = jwks_source(server.url)
            document = await source.read()
            await source.close()

        assert jwks_of(OLD) == document.text
        for place in (
            "http://issuer.example.org/jwks",
            "ftp://127.0.0.1/x",
            "https://",
            "http://[",
            "https://issuer.example.org:99999/jwks",
            "https://issuer.example.org/\x7f",
        ):
            with pytest.raises(ConfigurationError, match="should be an https:// URL or the path"):
                jwks_source(place)


class TestAFile:
    async def test_is_read_again_when_it_changes(
        self, verifying: Verifying, tmp_path: Path
    ) -> None:
        """One that is broken meanwhile takes nothing from anybody."""
        path = tmp_path / "jwks.json"
        path.write_text(jwks_of(OLD))
        verifier, jwks = await verifying(jwks_source(str(path)))
        path.write_text("{")
        await jwks.look()
        broken = await reason(verifier, OLD.sign(claims()))
        path.write_text(jwks_of(NEW))
        await jwks.look()

        assert "" == broken
        assert ["", INVALID] == [
            await reason(verifier, NEW.sign(claims())),
            await reason(verifier, OLD.sign(claims())),
        ]

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (None, "cannot be read: No such file"),
            (b"", "is no JWKS"),
            (b"[]", "is no JWKS"),
            (b'{"keys": {}}', "should list 1 to 100 keys"),
            (b'{"keys": []}', "has no public key"),
            (b"\xff", "is not UTF-8"),
            (b" " * (512 * 1024 + 1), "more than 524288 bytes"),
            (b"[" * 100_000, "is no JWKS"),
            (json.dumps({"keys": [{}] * 101}).encode(), "should list 1 to 100 keys"),
        ],
        ids=lambda value: str(value)[:20],
    )
    async def test_that_is_not_fit_stops_the_start(
        self, verifying: Verifying, tmp_path: Path, content: bytes | None, what: str
    ) -> None:
        """It is the operators' own, and will not get better by itself."""
        path = tmp_path / "jwks.json"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=what):
            await verifying(FileSource(path))


class TestKeys:
    RSA = rsa_key("rsa").published

    @pytest.mark.parametrize(
        "listed",
        [
            {**OLD.published, "use": "enc"},
            {**OLD.published, "key_ops": ["sign"]},
            {**OLD.published, "key_ops": "verify"},
            {**OLD.published, "kid": None},
            {**OLD.published, "kid": "k" * 201},
            OLD.leaked,
            {**OLD.published, "x": "AAAA"},
            {**OLD.published, "crv": "P-384"},
            {**OLD.published, "crv": ["P-256"]},
            {**OLD.published, "alg": "HS256"},
            {**OLD.published, "alg": {}},
            {**OLD.published, "kty": "oct", "k": "AAAA"},
            {"kty": "oct", "kid": "a", "k": "AAAA", "alg": "HS256"},
            {"kty": "RSA", "kid": "a"},
            rsa_key("a", bits=1_024).published,
            "a key",
            None,
        ],
    )
    def test_that_cannot_check_signatures_are_left_out(self, listed: Any) -> None:
        """Also private ones, which are everybody's by now, and short ones; the others count."""
        found = parse_jwks(json.dumps({"keys": [listed, self.RSA]}), ALGORITHMS)

        assert [("rsa", "RS256")] == [*found]

    def test_are_for_the_algorithms_of_their_kind(self) -> None:
        """Of those that we accept; the one that they name, if they name one."""
        keys = {
            "keys": [
                self.RSA,
                {**self.RSA, "kid": "ps", "alg": "PS256"},
                {**ed_key("ed").published, "alg": "Ed25519"},
            ]
        }
        found = parse_jwks(json.dumps(keys), ("RS256", "PS256", "EdDSA"))

        assert {("rsa", "RS256"), ("rsa", "PS256"), ("ps", "PS256"), ("ed", "EdDSA")} == {*found}
