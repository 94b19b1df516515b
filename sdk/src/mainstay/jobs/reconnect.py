"""How long to wait before connecting again."""

import random

INITIAL_PAUSE = 0.1
# Below the resume window of the service (5 s by default), so that a worker whose service comes
# back within the window is there in time to keep its jobs.
LONGEST_PAUSE = 2.0


def reconnect_pause(failures: int, jitter: random.Random) -> float:
    """Return the pause in seconds after so many failures in a row, from 1.

    Doubles from 0.1 s up to 2 s; the actual pause is between half of that and all of it, so that
    the workers of a service that restarts do not all return at the same moment.
    """
    ceiling = min(LONGEST_PAUSE, INITIAL_PAUSE * 2.0 ** min(failures - 1, 10))
    return ceiling * jitter.uniform(0.5, 1.0)
