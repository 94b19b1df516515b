"""Free ports on loopback. Whoever binds one later may find it taken and has to ask again."""

import random
import socket

# Below the range from which systems number outgoing connections: between the choice of a port and
# its use, no connection of anybody's can happen to begin on it.
_CHOICE = range(20_000, 32_000)


def free_port(preferred: int = 0) -> int:
    """Return `preferred` if nothing listens there, else any free port."""
    return preferred if preferred and _is_free(preferred) else free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """Return that many different free ports."""
    found: list[int] = []
    for port in random.sample(_CHOICE, len(_CHOICE)):  # spreads those who ask at the same time
        if len(found) == number:
            return found
        if _is_free(port):
            found.append(port)
    raise OSError(f"no {number} free ports on 127.0.0.1 between {_CHOICE[0]} and {_CHOICE[-1]}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT, from connections of the last run, counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
