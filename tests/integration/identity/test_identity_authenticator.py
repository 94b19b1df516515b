"""All ways to prove who one is, put together by the settings as services do."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cli.embedded.postgres import PostgresServer
from mainstay.errors import ConfigurationError, MainstayError
from shared.config import CommonSettings
from shared.identity.authenticator import Authenticator, build_authenticator
from shared.identity.grants import SUITE
from tests.integration.identity.issuer import AUDIENCE, ISSUER, claims, ec_key, jwks_of
from tests.integration.identity.keys import Bench, unmade
from tests.integration.shared.waiting import until

MISSING, INVALID, AWAY = "CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "IDENTITY_UNAVAILABLE"
SERVICE_KEYS = "n" * 32, "o" * 32
KEY = ec_key()


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Authenticator]:
    """Start an authenticator as a service does."""
    authenticator = build_authenticator(CommonSettings.model_validate(settings))
    assert authenticator is not None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(authenticator.close)
        await authenticator.start()
        stack.push_async_callback(_stop, asyncio.create_task(authenticator.run()))
        yield authenticator


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def accepting(directory: Path, url: str, auth: str = "api-key,jwt") -> dict[str, Any]:
    """Return settings by which keys, tokens and the suite are accepted."""
    (directory / "jwks.json").write_text(jwks_of(KEY))
    return {
        "auth": auth,
        "postgres_url": url,
        "auth_jwt_issuer": ISSUER,
        "auth_jwt_audience": AUDIENCE,
        "auth_jwt_jwks": str(directory / "jwks.json"),
        "service_key": ",".join(SERVICE_KEYS),
    }


async def outcome(authenticator: Authenticator, header: str) -> str:
    """Return who a header is, or why it is nobody."""
    try:
        principal = authenticator.known_bearer(header) or await authenticator.find_bearer(header)
    except MainstayError as error:
        return error.reason
    return principal.name


class TestTheSettings:
    def test_may_ask_nobody(self) -> None:
        """On loopback, by default."""
        assert build_authenticator(CommonSettings.model_validate({})) is None

    async def test_may_accept_several_proofs(
        self, bench: Bench, identity_url: str, tmp_path: Path
    ) -> None:
        """Keys, tokens and the suite, each beside the others."""
        made = await bench.make()
        async with running(**accepting(tmp_path, identity_url)) as authenticator:
            headers = [made.header, f"Bearer {KEY.sign(claims())}"]
            headers += [f"Bearer {key}" for key in SERVICE_KEYS]
            outcomes = [await outcome(authenticator, header) for header in headers]

        assert [made.key.key_id, "alice", SUITE, SUITE] == outcomes

    async def test_accept_nothing_that_they_do_not_name(
        self, bench: Bench, identity_url: str, tmp_path: Path
    ) -> None:
        """A key is nothing where tokens are accepted, and the other way round."""
        made = await bench.make()
        token = f"Bearer {KEY.sign(claims())}"
        async with running(**accepting(tmp_path, identity_url, "jwt")) as authenticator:
            by_token = [await outcome(authenticator, header) for header in (made.header, token)]
        async with running(**accepting(tmp_path, identity_url, "api-key")) as authenticator:
            by_key = [await outcome(authenticator, header) for header in (made.header, token)]

        assert ([INVALID, "alice"], [made.key.key_id, INVALID]) == (by_token, by_key)

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"auth_jwt_jwks": "/nowhere/jwks.json"}, "MAINSTAY_AUTH_JWT_JWKS"),
            ({"auth_jwt_jwks": "http://issuer.example.org/jwks.json"}, "MAINSTAY_AUTH_JWT_JWKS"),
            (
                {"auth": "mtls", "auth_identities": "/nowhere/identities.yaml"},
                "MAINSTAY_AUTH_IDENTITIES",
            ),
        ],
        ids=["no file", "open address", "no identities"],
    )
    async def test_that_cannot_be_met_stop_the_start(
        self, identity_url: str, tmp_path: Path, changes: dict[str, Any], what: str
    ) -> None:
        """With the name of the one that is wrong."""
        (tmp_path / "ca.pem").write_text("")
        tls = dict.fromkeys(("tls_client_ca", "tls_certificate", "tls_key"), tmp_path / "ca.pem")
        with pytest.raises(ConfigurationError, match=what):
            async with running(**accepting(tmp_path, identity_url) | tls | changes):
                pass


class TestAHeader:
    @pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
    async def test_may_write_its_scheme_in_any_case(
        self, bench: Bench, identity_url: str, tmp_path: Path, scheme: str
    ) -> None:
        """As RFC 7235 has it."""
        made = await bench.make()
        async with running(**accepting(tmp_path, identity_url)) as authenticator:
            twice = [await outcome(authenticator, scheme + made.key.text) for _ in range(2)]

        assert [made.key.key_id] * 2 == twice

    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            ("", MISSING),
            (" ", INVALID),
            ("Bearer", INVALID),
            ("Bearer  ", INVALID),
            ("Basic dXNlcjpwYXNz", INVALID),
            ("Bearer msk_", INVALID),
            (f"Bearer {'m' * 9_000}", INVALID),
            ("Bearer \udcff", INVALID),
            ("Bearer ä", INVALID),
            (f"Bearer {SERVICE_KEYS[0]} x", INVALID),
            (SERVICE_KEYS[0], INVALID),
            ("Bearer \x00", INVALID),
        ],
        ids=ascii,
    )
    async def test_that_makes_no_sense_is_refused(
        self, identity_url: str, tmp_path: Path, header: str, reason: str
    ) -> None:
        """At once: nobody has to be asked for it."""
        async with running(**accepting(tmp_path, identity_url)) as authenticator:
            with pytest.raises(MainstayError) as caught:
                authenticator.known("", None) if not header else authenticator.known(header, None)

        assert reason == caught.value.reason


class TestPartsThatAreAway:
    async def test_leave_the_others_as_they_are(
        self, private_postgres: PostgresServer, tmp_path: Path
    ) -> None:
        """Without PostgreSQL a service starts, and knows the suite and tokens."""
        await private_postgres.stop()
        async with running(**accepting(tmp_path, private_postgres.url)) as authenticator:
            headers = [f"Bearer {SERVICE_KEYS[0]}", f"Bearer {KEY.sign(claims())}", unmade()]
            outcomes = [await outcome(authenticator, header) for header in headers]

        assert [SUITE, "alice", AWAY] == outcomes


class TestSecrets:
    async def test_are_in_no_line(
        self,
        bench: Bench,
        identity_url: str,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Of whatever is shown, right or wrong, while a key is revoked and keys rotate."""
        caplog.set_level(logging.DEBUG)
        made, token, foreign = await bench.make(), KEY.sign(claims()), ec_key().sign(claims())
        shown = [made.key.text, token, foreign, SERVICE_KEYS[0], unmade().removeprefix("Bearer ")]
        with capture_logs() as lines:
            async with running(**accepting(tmp_path, identity_url)) as authenticator:
                for each in shown:
                    await outcome(authenticator, f"Bearer {each}")
                await bench.revoke(made)
                (tmp_path / "jwks.json").write_text(jwks_of(ec_key("next")))
                await until(lambda: [line for line in lines if line["event"] == "jwks_loaded"][1:])
                for each in shown:
                    await outcome(authenticator, f"Bearer {each}")
                said = repr(authenticator) + repr(vars(authenticator))
        text = repr(lines) + caplog.text + said

        assert lines
        assert not [each for each in shown if each in text or each[-20:] in text]
