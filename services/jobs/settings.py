"""The settings of the jobs service, read from the environment (`MAINSTAY_JOBS_...`)."""

from typing import Self

from pydantic import Field, model_validator

from shared.config import PostgresSettings


class JobsSettings(PostgresSettings):
    """What the jobs service needs beside the settings that all services share."""

    jobs_port: int = Field(
        50053, ge=0, le=65535, description="Port of the jobs service; 0 takes a free one."
    )
    jobs_ops_port: int = Field(
        8053,
        ge=0,
        le=65535,
        description="Port of the jobs' /livez, /readyz and /metrics; 0 takes a free one.",
    )
    jobs_session_lease: float = Field(
        30.0,
        ge=0.5,
        le=3600,
        description="How long a worker that does not beat keeps its jobs, in seconds.",
    )
    jobs_heartbeat_interval: float = Field(
        10.0,
        ge=0.1,
        le=600,
        description="How often workers beat, in seconds; at most half of the lease.",
    )
    jobs_resume_window: float = Field(
        5.0,
        ge=0.1,
        le=600,
        description="How long a worker whose connection broke keeps its jobs, in seconds.",
    )
    jobs_hello_timeout: float = Field(
        5.0,
        ge=0.1,
        le=60,
        description="Longest wait for the first frame of a worker's stream, in seconds.",
    )
    jobs_max_crashes: int = Field(
        5,
        ge=1,
        le=100,
        description="Workers that a job may lose before it is dead-lettered as their poison.",
    )
    jobs_hang_timeout: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="How long a worker may be stuck with a job whose function sets no hang "
        "timeout, in seconds.",
    )
    jobs_history_days: int = Field(
        30,
        ge=1,
        le=365,
        description="How long jobs that are over can be read, and dead letters wait, in days.",
    )
    jobs_maintenance: bool = Field(
        True,
        description="Whether this replica takes part in the maintenance of the tables; one has to.",
    )
    jobs_poll_interval: float = Field(
        5.0,
        ge=0.05,
        le=60,
        description="How often to look for work and changes that no wake-up told of, in seconds.",
    )
    jobs_ratelimit_address: str = Field(
        "",
        max_length=300,
        description="host:port of the rate limit service; jobs of functions with a rate wait "
        "while none is named or it cannot be reached.",
    )

    @model_validator(mode="after")
    def _check_heartbeat(self) -> Self:
        if self.jobs_heartbeat_interval > self.jobs_session_lease / 2:
            raise ValueError(
                "JOBS_HEARTBEAT_INTERVAL must be at most half of JOBS_SESSION_LEASE: one lost "
                "beat must not cost a worker its jobs"
            )
        return self
