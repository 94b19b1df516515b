"""`mainstay keys`: make, list and revoke API keys."""

import secrets
from datetime import timedelta
from typing import Annotated

import typer

from cli.arguments import UsageError, length
from cli.asking import sensible
from cli.console import console
from cli.documents import fields_of, text
from cli.keys import listing
from cli.keys.store import HERE, Database, DataDir, Json, account, ask_keys
from cli.wording import moment
from shared.identity.api_key import PREFIX, KeyId, mint, parse, parse_id
from shared.identity.grants import tenant_named
from shared.identity.ports import ApiKey, KeyOrder
from shared.identity.scopes import SCOPES, expand
from shared.rpc.call import ALL_TENANTS, Tenant

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

MAX_NAME = 100
MAX_SCOPES = 50
LONGEST = timedelta(days=3_650)
_MOST_LISTED = 10_000


@app.callback()
def keys() -> None:
    """Make, list and revoke API keys.

    Services accept them where MAINSTAY_AUTH has `api-key`: a new one at once, a revoked
    one for five seconds more at most. Works on the database itself, so that the first
    key needs no other; each act is in `identity.audit_log`.
    """


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people call it, such as who gets it.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help=f"What it may do; several times for more: {', '.join(sorted(SCOPES))}; "
            "`cache:*` and the like for all of an area, `*` for everything."
        ),
    ],
    tenant: Annotated[str | None, typer.Option(help="The one tenant it is good for.")] = None,
    all_tenants: Annotated[bool, typer.Option("--all-tenants", help="Good for any.")] = False,
    expires: Annotated[str | None, typer.Option(help="After so long: 90d. Default: never.")] = None,
    url: Database = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Make a key and print it, alone and once: KEY=$(mainstay keys create …) keeps it."""
    order = sensible(lambda: _order(name, scope, tenant, expires, all_tenants=all_tenants))
    key = mint(secrets.choice)
    made = ask_keys(
        lambda store: store.create(key, order, by=account()), url=url, data_dir=data_dir
    )
    if json:
        typer.echo(text({**fields_of(made), "key": key.text}))
    else:
        typer.echo(_told(made), err=True)
        typer.echo(key.text)


@app.command(name="list")
def list_keys(url: Database = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """List all keys, the newest first; what follows the prefix is known to their owners alone."""
    found = ask_keys(lambda store: store.list(_MOST_LISTED), url=url, data_dir=data_dir)
    if json:
        typer.echo(text(found))
    elif found:
        console().print(listing.keys(found))
    else:
        typer.echo("no API keys; `mainstay keys create` makes one")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it: msk_…")],
    url: Database = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Revoke a key: within five seconds no service accepts it. Doing it twice is no failure."""
    key_id = sensible(lambda: _key_id(key))
    revoked = ask_keys(lambda store: store.revoke(key_id, by=account()), url=url, data_dir=data_dir)
    if json:
        typer.echo(text(revoked))
    else:
        when = moment(revoked.revoke_time) if revoked.revoke_time else ""
        typer.echo(f"{PREFIX}{key_id} ({revoked.name}) is revoked since {when}")


def _order(
    name: str, scopes: list[str], tenant: str | None, expires: str | None, *, all_tenants: bool
) -> KeyOrder:
    if not (0 < len(name) <= MAX_NAME and name.isprintable()):
        raise UsageError(f"the name should be 1 to {MAX_NAME} printable characters")
    if len(scopes) > MAX_SCOPES:
        raise UsageError(f"give --scope at most {MAX_SCOPES} times")
    try:
        expand(scopes)
    except ValueError as error:
        raise UsageError(f"--scope {error}") from error
    return KeyOrder(
        name=name,
        tenant=_tenant(tenant, all_tenants=all_tenants),
        scopes=tuple(dict.fromkeys(scopes)),
        lifetime=None if expires is None else _lifetime(expires),
    )


def _tenant(tenant: str | None, *, all_tenants: bool) -> Tenant:
    """Return whose the key is: that it is for all has to be said in so many words."""
    if (tenant is None) != all_tenants:
        raise UsageError("give one of --tenant and --all-tenants")
    if tenant is None:
        return ALL_TENANTS
    found = tenant_named(tenant)
    if found is None or found == ALL_TENANTS:
        raise UsageError(
            f"--tenant {tenant!r} should be 1 to 64 letters, digits, dots, dashes and underscores; "
            "--all-tenants is for all"
        )
    return found


def _lifetime(expires: str) -> timedelta:
    span = length(expires, "--expires")
    if not timedelta() < span <= LONGEST:
        raise UsageError(f"--expires {expires} should be longer than nothing, at most 3650d")
    return span


def _key_id(typed: str) -> KeyId:
    whole = parse(typed)  # of one that has leaked somebody may have no more than the key itself
    key_id = parse_id(typed) if whole is None else whole.key_id
    if key_id is None:
        # It may be most of a key: it is not repeated.
        raise UsageError(f"that is no id of an API key; `list` shows them: {PREFIX} and 12 more")
    return key_id


def _told(made: ApiKey) -> str:
    whose = "all tenants" if made.tenant == ALL_TENANTS else f"the tenant {made.tenant}"
    until = f"until {moment(made.expire_time)}" if made.expire_time else "until it is revoked"
    return (
        f"{PREFIX}{made.key_id} ({made.name}) is good for {', '.join(made.scopes)} in {whose}, "
        f"{until}.\nThis is the only time the key is shown; send it as `authorization: Bearer …`:"
    )
