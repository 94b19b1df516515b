"""What a service tells about itself: traces, metrics, logs, errors, rows.

`timer` and `measured` measure a piece of work.
"""

from shared.telemetry.measuring import measured, timer

__all__ = ["measured", "timer"]
