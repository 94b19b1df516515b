"""API keys as a table."""

from collections.abc import Sequence
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from cli.console import table
from cli.wording import moment
from shared.identity.api_key import PREFIX
from shared.identity.ports import ApiKey

_NONE, _NEVER = "-", "never"


def keys(found: Sequence[ApiKey]) -> Table:
    """Return keys in a line each."""
    made = table(
        *("prefix", "name", "tenant", "scopes", "created", "expires", "last used", "revoked"),
        whole=("prefix",),
    )
    for key in found:
        made.add_row(
            f"{PREFIX}{key.key_id}",
            escape(key.name),
            escape(key.tenant),
            escape(" ".join(key.scopes)),
            moment(key.create_time),
            _moment(key.expire_time, _NEVER),
            _moment(key.last_use_time, _NEVER),
            _moment(key.revoke_time, _NONE),
        )
    return made


def _moment(time: datetime | None, otherwise: str) -> str:
    return otherwise if time is None else moment(time)
