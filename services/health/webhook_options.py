"""What the settings say of webhooks: whom to tell, and with which keys to sign."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from services.health.webhook_signing import decode_secret


def parse_urls(text: str) -> Sequence[str]:
    """Return the URLs in a text; raises ValueError, which quotes nothing: they may be secret."""
    urls = _parts(text)
    for number, url in enumerate(urls, start=1):
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or len(url.split()) != 1:
            raise ValueError(
                f"number {number} is not an http:// or https:// URL; separate several by commas, "
                "and write a comma within one as %2C"
            )
    return urls


def parse_secrets(text: str) -> Sequence[bytes]:
    """Return the keys in a text; raises ValueError, which quotes nothing."""
    return [decode_secret(part) for part in _parts(text)]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
