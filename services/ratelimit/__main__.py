"""Runs the rate limit service: `python -m services.ratelimit`."""

from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings
from shared.service import run_service

if __name__ == "__main__":
    run_service("ratelimit", RateLimitSettings, build)
