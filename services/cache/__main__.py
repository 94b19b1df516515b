"""Runs the cache service: `python -m services.cache`."""

from services.cache.app import build
from services.cache.settings import CacheSettings
from shared.service import run_service

if __name__ == "__main__":
    run_service("cache", CacheSettings, build)
