"""What a worker's session is granted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a session is granted, in seconds.

    Attributes:
        lease: How long it lives without a heartbeat.
        heartbeat_interval: How often to beat.
        resume_window: How long it outlives a broken stream.
        hang_timeout: How long a job may not move whose function does not say.

    """

    lease: float
    heartbeat_interval: float
    resume_window: float
    hang_timeout: float = 300.0
