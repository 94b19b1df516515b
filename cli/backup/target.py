"""A database as PostgreSQL's own programs are told of it: without a password that others see."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from cli.backup.errors import BackupError

APPLICATION = "mainstay-backup"
# Row-level security binds the owner of the tables too.
_OPTIONS = "-c mainstay.tenant=* -c idle_in_transaction_session_timeout=0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a database is.

    Attributes:
        url: With everything, for connections of this process.
        shown: Without a password: arguments of programs can be read by everybody on a machine.
        environment: What programs need beside, which only their owner can read.

    """

    url: str
    shown: str
    environment: Mapping[str, str]

    @classmethod
    def of(cls, url: str) -> "Target":
        """Take a URL apart; raises BackupError where a program cannot be told what it says."""
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        if any(name == "sslpassword" for name, _ in query):
            raise BackupError(
                "MAINSTAY_POSTGRES_URL has sslpassword, which PostgreSQL's programs take from "
                "their arguments alone; use a key file without a password"
            )
        account, _, hosts = parts.netloc.rpartition("@")
        user, _, password = account.partition(":")
        secrets = [unquote(password), *(value for name, value in query if name == "password")]
        # libpq knows %-escapes, and takes a plus for one; options there hide those of PGOPTIONS.
        public = [pair for pair in query if pair[0] not in {"password", "options"}]
        rest = f"?{urlencode(public, quote_via=quote)}" if public else ""
        shown = f"{parts.scheme}://{f'{user}@' if user else ''}{hosts}{parts.path}{rest}"
        given = [secret for secret in secrets if secret]
        meant = [value for name, value in query if name == "options"]
        options = " ".join([*(meant or [os.environ.get("PGOPTIONS", "")]), _OPTIONS])
        environment = {"PGOPTIONS": options.strip(), "PGAPPNAME": APPLICATION}
        if given:
            environment["PGPASSWORD"] = given[-1]
        return cls(url=url, shown=shown, environment=environment)
