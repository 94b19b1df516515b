"""How PostgreSQL plans this service's statements."""

from urllib.parse import urlencode

PLANNER = {
    # A statement that is planned while its tables are empty keeps its plan, sequential scans
    # included, until they are next analysed. Measured so, a claim among 100,000 jobs took over a
    # second; with indexes, for which every statement is written, two milliseconds.
    "enable_seqscan": "off",
    # Compiling takes longer than running any of them, and the planner's price for a scan without
    # alternative (`sessions` is small and has no index on what changes) would trigger it.
    "jit": "off",
}


def with_planner_settings(url: str) -> str:
    """Return the URL of a database for connections that plan with the settings above.

    What is wrong with a URL is said by whoever connects: nothing is parsed here.
    """
    return f"{url}{'&' if '?' in url else '?'}{urlencode(PLANNER)}"
