"""Renders the status page, at most once a second, and knows what has changed since.

The page is made of fragments. Each carries the revision in which it last read differently, so that
a browser that says which revision it has is sent only what it lacks.
"""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from services.health import page_past
from services.health import page_view as view
from services.health.history import BUDGET_SPAN, OBJECTIVE, History, Incident
from services.health.page_past import Latencies
from services.health.rollup import Report
from services.health.state import State
from services.health.target import SUITE

FRESH_SECONDS = 1.0
REVISIONS_TOLD_APART = 64
_TEMPLATES = Path(__file__).parent / "templates"
STYLE = (_TEMPLATES / "page.css").read_text()
SCRIPT = (_TEMPLATES / "page.js").read_text()

_SHAPES = {
    State.HEALTHY: ("#2f9e5b", "<circle cx='8' cy='8' r='7'/>"),
    State.DEGRADED: ("#d39a26", "<path d='M8 1l7.5 14H.5z'/>"),
    State.UNHEALTHY: ("#d0392f", "<path d='M5 1h6l4 4v6l-4 4H5l-4-4V5z'/>"),
    State.UNKNOWN: (
        "#8a8983",
        "<path d='M8 0a8 8 0 110 16A8 8 0 118 0zm0 4a4 4 0 100 8 4 4 0 100-8'/>",
    ),
    State.MAINTENANCE: ("#4a6fd0", "<rect x='1' y='1' width='14' height='14' rx='3'/>"),
}
_SVG = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='{}'>{}</svg>"
_ICONS = {
    state: "data:image/svg+xml," + quote(_SVG.format(*shape), safe="/:='< >")
    for state, shape in _SHAPES.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the page has its knowledge from; each answers from memory.

    Attributes:
        report: Returns the report as of now.
        histories: Returns what is known of the past, by target and `suite`.
        incidents: Returns the newest incidents, the newest first.
        latencies: Returns the latencies of a target in the last 60 minutes, the oldest first.

    """

    report: Callable[[], Report]
    histories: Callable[[], Mapping[str, History]]
    incidents: Callable[[], Sequence[Incident]]
    latencies: Latencies


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """One rendering: the fragments by id, and the revision each is of."""

    now: view.Now
    fragments: Mapping[str, Markup]
    revisions: Mapping[str, int]


class Board:
    """The page for one sort of reader: the public, or those who may see the details."""

    def __init__(
        self,
        sources: Sources,
        *,
        details: bool,
        instance: str,
        wall: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._details = details
        self._instance = instance
        self._wall = wall
        self._monotonic = monotonic
        self._templates = _templates()
        self._pieces: dict[str, tuple[object, Markup]] = {}
        self._revision = 0
        self._sheet: _Sheet | None = None
        self._fresh_until = float("-inf")
        self._answers: dict[object, bytes] = {}

    def expire(self) -> None:
        """Render anew when next asked: something has changed."""
        self._fresh_until = float("-inf")

    def page(self, *, zipped: bool = False) -> bytes:
        """Return the page, as HTML or as HTML in gzip."""
        self._refresh()
        if zipped:
            return self._once("zipped", lambda: gzip.compress(self.page(), compresslevel=6))
        return self._once("page", self._render_page)

    def news(self, since: str) -> tuple[str, bytes]:
        """Return the id of this revision, and as JSON what is new since another."""
        self._refresh()
        instance, _, number = since.rpartition("-")
        # What another instance has shown may be anything; and who was away for long gets it all.
        known = int(number) if instance == self._instance and number.isdecimal() else 0
        if not self._revision - REVISIONS_TOLD_APART < known <= self._revision:
            known = 0
        return self._name, self._once(known, lambda: self._render_news(known))

    @property
    def _name(self) -> str:
        return f"{self._instance}-{self._revision}"

    def _once(self, what: object, render: Callable[[], bytes]) -> bytes:
        if what not in self._answers:
            self._answers[what] = render()
        return self._answers[what]

    def _refresh(self) -> _Sheet:
        now = self._monotonic()
        if self._sheet is not None and now < self._fresh_until:
            return self._sheet
        self._fresh_until = now + FRESH_SECONDS
        seen, fragments = self._render()
        before, revision = self._sheet, self._revision + 1
        revisions = {
            name: before.revisions[name]
            if before is not None and before.fragments.get(name) == html
            else revision
            for name, html in fragments.items()
        }
        if revision in revisions.values():
            self._revision = revision
            self._answers.clear()
        self._sheet = _Sheet(now=seen, fragments=fragments, revisions=revisions)
        return self._sheet

    def _render(self) -> tuple[view.Now, dict[str, Markup]]:
        report, now = self._sources.report(), self._wall()
        seen = view.see(report, now, details=self._details)
        incidents = view.occurrences(self._sources.incidents(), report, now, details=self._details)
        histories = self._sources.histories()
        pieces = {
            "as-of": self._piece("as-of", "asof", as_of=seen.as_of),
            "overall": self._piece("overall", "overall", overall=seen.overall),
            "past-suite": self._past("past-suite", histories.get(SUITE), now),
            "graph": self._piece("graph", "graph", graph=seen.graph, needs=seen.needs),
            "incidents": self._piece("incidents", "incidents", occurrences=incidents),
        }
        for number, row in enumerate(seen.rows):
            check = report.check(row.name)
            speed = page_past.pace(check, self._sources.latencies(row.name)) if check else None
            state, pace, past = f"state-{number}", f"pace-{number}", f"past-{number}"
            pieces[state] = self._piece(state, "state", id=state, row=row)
            pieces[pace] = self._piece(pace, "pace", id=pace, pace=speed)
            pieces[past] = self._past(past, histories.get(row.name), now)
        return seen, pieces

    def _piece(self, name: str, template: str, **values: Any) -> Markup:
        """Return a fragment, as it was when it says the same as then."""
        kept = self._pieces.get(name)
        if kept is None or kept[0] != values:
            kept = self._pieces[name] = (values, self._fill(template, **values))
        return kept[1]

    def _past(self, name: str, history: History | None, now: datetime) -> Markup:
        """Return the days of a target; they are most of the page and change once a minute."""
        kept, basis = self._pieces.get(name), (history, now.date())
        if kept is None or kept[0] != basis:
            html = self._fill("past", id=name, past=page_past.past(history, now))
            kept = self._pieces[name] = (basis, html)
        return kept[1]

    def _render_page(self) -> bytes:
        sheet = self._refresh()
        services, rows = sheet.now.services, range(len(sheet.now.rows))
        sections = (
            {"id": "services", "title": "Services", "rows": rows[:services]},
            {"id": "others", "title": "What they stand on", "rows": rows[services:]},
        )
        html = self._fill(
            "page",
            **_head(sheet.now),
            revision=self._name,
            sections=[section for section in sections if section["rows"]],
            fragments=sheet.fragments,
        )
        return html.encode()

    def _render_news(self, known: int) -> bytes:
        sheet = self._refresh()
        fragments = {
            name: str(html)
            for name, html in sheet.fragments.items()
            if sheet.revisions[name] > known
        }
        return orjson.dumps({**_head(sheet.now), "fragments": fragments})

    def _fill(self, template: str, **values: Any) -> Markup:
        # What a template makes of escaped values is HTML.
        return Markup(self._templates[template].render(values))  # noqa: S704


def _head(seen: view.Now) -> dict[str, str]:
    badge = seen.overall.badge
    return {"title": f"{badge.word} · Mainstay status", "icon": _ICONS[badge.state]}


def _templates() -> dict[str, Template]:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        style=Markup(STYLE),  # noqa: S704 - a file of ours
        script=Markup(SCRIPT),  # noqa: S704 - a file of ours
        objective=f"{OBJECTIVE:.1%}",
        budget_days=BUDGET_SPAN.days,
    )
    names = (path.stem for path in _TEMPLATES.glob("*.html"))
    return {name: environment.get_template(f"{name}.html") for name in names}
