"""Runs the jobs service: `python -m services.jobs`."""

from services.jobs.app import build
from services.jobs.settings import JobsSettings
from shared.service import run_service

if __name__ == "__main__":
    run_service("jobs", JobsSettings, build)
