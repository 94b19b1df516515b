"""Writes deploy/grafana/dashboards from scripts/dashboards, or with --check compares them."""

import json
import sys
from pathlib import Path

from dashboards.activity import ACTIVITY
from dashboards.api import API
from dashboards.cost import COST
from dashboards.database import DATABASE
from dashboards.health import HEALTH
from dashboards.jobs import JOBS
from dashboards.panels import Dashboard

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboards"
DASHBOARDS = (HEALTH, API, DATABASE, JOBS, COST, ACTIVITY)


def text_of(dashboard: Dashboard) -> str:
    """Return what stands in a dashboard's file: a line for each panel, so that changes show."""
    page = dashboard.json()
    panels = ",\n".join(json.dumps(panel, ensure_ascii=False) for panel in page.pop("panels"))
    head = json.dumps(page, ensure_ascii=False, indent=1).removesuffix("\n}")
    return f'{head},\n "panels": [\n{panels}\n ]\n}}\n'


def main() -> int:
    """Write the files; with --check return 1 if they are not what stands there."""
    wanted = {FOLDER / f"{each.name}.json": text_of(each) for each in DASHBOARDS}
    there = {path: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    if "--check" in sys.argv[1:]:
        if wanted != there:
            sys.stderr.write("deploy/grafana/dashboards is stale; run 'make gen' and commit it\n")
        return int(wanted != there)
    for path in there.keys() - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
