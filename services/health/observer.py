"""What this instance of the health service is called in the history."""

import socket

from shared.processes import process_index


def observer_name(instance: str) -> str:
    """Return the name that was configured, or the host's; further processes have a number."""
    name = instance or socket.gethostname()
    index = process_index()
    return f"{name}/{index}" if index else name
