"""JSON lines on standard output, each with the request it belongs to.

Any logging set-up works with Mainstay: the worker logs by the standard library, under the name
`mainstay.worker`, with its facts in `extra`.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from mainstay import context

# What every record has; the rest came in `extra`.
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, message, request and whatever else the record carries."""
        request = context.current()
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": record.getMessage(),
            "request_id": request.request_id if request else None,
            "tenant": request.tenant if request else None,
        }
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: value for key, value in fields.items() if value is not None})


def configure_logs(service: str) -> None:
    """Log to standard output from now on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
