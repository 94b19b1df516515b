"""Runs the health service: `python -m services.health`."""

from services.health.app import build
from services.health.settings import HealthSettings
from shared.service import run_service

if __name__ == "__main__":
    run_service("health", HealthSettings, build)
