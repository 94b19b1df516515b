"""Addresses by which a Redis, or a Redis Cluster, is found."""

import re

# A comma alone may be part of a password; one before a scheme is not.
_BETWEEN_URLS = re.compile(r",\s*(?=(?:rediss?|unix)://)")


def seed_urls(setting: str) -> list[str]:
    """Return the URLs that MAINSTAY_REDIS_URL holds: one, or several nodes of one cluster."""
    return _BETWEEN_URLS.split(setting)
