"""Has what is counted elsewhere brought into the metrics before they are read."""

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class BeforeScrape(Collector):
    """Calls whoever brings numbers in, before a scrape; has no metrics of its own.

    Registered before all metrics it is about, because the registry asks in that order.
    """

    def __init__(self) -> None:
        self._bring: list[Callable[[], None]] = []

    def attach(self, bring: Callable[[], None]) -> None:
        """Call `bring` before each scrape."""
        self._bring.append(bring)

    def detach(self, bring: Callable[[], None]) -> None:
        """Call it no more."""
        self._bring.remove(bring)

    def collect(self) -> Iterable[Metric]:
        """Bring it in."""
        for bring in tuple(self._bring):
            bring()
        return ()
