"""What `mainstay cache stats` prints for people."""

from datetime import timedelta
from io import StringIO

from rich.console import Console

from cli.cache import listing
from mainstay.cache.administration import Figures, Stats, StatsGroup
from mainstay.cache.results import MissReason

LONG = "n" * 64
FIGURES = Figures(
    hits=123_456_789_012,
    stale_hits=0,
    misses=1,
    miss_counts={MissReason.COLD: 1},
    hit_rate=1.0,
    computations=0,
    computations_saved=1,
    time_saved=timedelta(days=400, hours=23),
    fills_refused=0,
)


class TestGroups:
    def test_fit_a_terminal(self) -> None:
        """However long the names are, they are folded and not cut; figures are whole."""
        group = StatsGroup(namespace=LONG, ttl_class=LONG, figures=FIGURES)
        stats = Stats(total=FIGURES, groups=(group,), target_hit_rate=0.7, quotas=())
        screen = Console(file=StringIO(), width=80, highlight=False)
        screen.print(listing.groups(stats))
        assert isinstance(screen.file, StringIO)
        text = screen.file.getvalue()
        names = [part for line in text.splitlines() for part in line.split() if set(part) == {"n"}]

        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
        assert 2 * len(LONG) == sum(map(len, names))
        assert ["123,456.8 M", "100.0%", "400 d 23 h", "cold"] == [
            fact for fact in ("123,456.8 M", "100.0%", "400 d 23 h", "cold") if fact in text
        ]
