"""Contracts of the events of these tests."""

import json
from pathlib import Path

EVENT = "order/placed"
FUNCTION = "ship"


def write_schemas(folder: Path) -> Path:
    """Write a policies folder: an order has a number."""
    events = folder / "events"
    events.mkdir(parents=True)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": EVENT,
        "description": "Somebody has ordered something.",
        "x-mainstay-event": EVENT,
        "x-mainstay-version": 1,
        "type": "object",
        "required": ["order"],
        "properties": {"order": {"type": "integer"}},
    }
    (events / "order.placed.v1.json").write_text(json.dumps(schema))
    return folder
