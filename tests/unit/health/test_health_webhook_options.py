"""What may be said of webhooks in settings, and what a mistake gives away: nothing."""

import base64

import pytest
from pydantic import ValidationError

from services.health.settings import HealthSettings
from services.health.webhook_options import parse_secrets, parse_urls
from services.health.webhook_signing import signed_headers
from shared.config import describe_mistakes

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
NEEDED = {"redis_url": "redis://r", "postgres_url": "postgresql://p"}


class TestOptions:
    def test_are_urls_and_keys(self) -> None:
        """Several, separated by commas."""
        urls = ["https://a.example/x?y=%2C", "http://127.0.0.1:8/"]

        assert urls == parse_urls(f" {urls[0]} , {urls[1]},")
        assert [KEY, KEY[:24]] == parse_secrets(
            f"{SECRET},whsec_{base64.b64encode(KEY[:24]).decode()}"
        )
        assert ([], []) == (parse_urls(""), parse_secrets(""))

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://a.example/hidden",
            "https:///hidden",
            "hidden",
            "http://a:b/hidden",
            "http://[hidden",
        ],
    )
    def test_refuse_what_is_no_url(self, url: str) -> None:
        """Without quoting it: a path may be a password."""
        with pytest.raises(ValueError, match="number 2") as caught:
            parse_urls(f"https://a.example,{url}")

        assert "hidden" not in str(caught.value)

    @pytest.mark.parametrize(
        "secret",
        ["hidden", SECRET.removeprefix("whsec_"), "whsec_hidden!", "whsec_", "whsec_aGlkZGVu"],
    )
    def test_refuse_what_is_no_secret(self, secret: str) -> None:
        """24 to 64 bytes, as the specification wants; without quoting it."""
        with pytest.raises(ValueError, match="24 to 64") as caught:
            parse_secrets(f"{SECRET},{secret}")

        assert "hidden" not in str(caught.value)

    def test_need_a_secret_for_urls(self) -> None:
        """Nobody should have to believe what is not signed."""
        given = NEEDED | {"health_webhook_urls": "https://a.example/hidden"}
        with pytest.raises(ValidationError) as caught:
            HealthSettings.model_validate(given)
        settings = HealthSettings.model_validate(given | {"health_webhook_secret": SECRET})

        assert "MAINSTAY_HEALTH_WEBHOOK_SECRET" in describe_mistakes(caught.value)
        assert "hidden" not in describe_mistakes(caught.value) + repr(settings)


class TestSignatures:
    def test_are_those_of_the_specification(self) -> None:
        """A vector computed by OpenSSL: `printf 'msg_1.1674087231.{}' | openssl dgst -hmac …`."""
        headers = signed_headers([KEY, KEY[:24]], "msg_1", 1674087231, b"{}")

        assert {
            "webhook-id": "msg_1",
            "webhook-timestamp": "1674087231",
            "webhook-signature": "v1,BxU1mYCBV2ldG2HAG6MnEv0UJfY6XIfbCpPpj/9VI/Y= "
            "v1,OINFOx/Ao+Rgj69Zaiw3aZHwAt2Nxryrt0pBd47DsiI=",
        } == headers
