"""`mainstay certs dev`: a CA, a server's and a client's certificate for development."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from cli.asking import fail, misused
from cli.certs.authority import Authority
from cli.certs.files import PairFiles

LOCAL = ("localhost", "127.0.0.1", "::1")
CLIENT = "client.mainstay.dev"
CA_LENGTH = timedelta(days=3650)
MAX_DAYS = 3650

_HOST = re.compile(
    r"(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_-]{1,63})*", re.IGNORECASE
)

app = typer.Typer(help="Certificates for development.", no_args_is_help=True)


@app.callback()
def certs() -> None:
    """Keep `dev` a command of its own: with one command only, typer would leave it out."""


@app.command()
def dev(
    out: Annotated[Path, typer.Option(help="The directory to write to.")] = Path(".mainstay/certs"),
    host: Annotated[
        list[str] | None,
        typer.Option(help="One more name or address of the server; may be repeated."),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=MAX_DAYS, help="How long server and client last.")
    ] = 90,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the CA too, and with it all trust in it.")
    ] = False,
) -> None:
    """Make a CA, and a server's and a client's certificate that it signs.

    The server's is for localhost, 127.0.0.1, ::1 and each --host. A CA that is there signs again,
    so that services and clients that trust it go on: run it again to renew the other two. For
    development only: the CA's key lies beside them.
    """
    hosts = [*LOCAL, *map(_checked, host or [])]
    ca, server, client = (PairFiles.named(name, out) for name in ("ca", "server", "client"))
    now = datetime.now(UTC)
    try:
        out.mkdir(parents=True, exist_ok=True)
        renewed = ca.exist and not force
        authority = _load(ca, now, days) if renewed else None
        if not force:
            _refuse_foreign((server, client), authority)
        authority = authority or _new(ca, now, days)
        server.write(authority.server(hosts))
        client.write(authority.client(CLIENT))
    except OSError as error:
        fail(f"{error.filename or out} cannot be written: {error.strerror}")
    typer.echo(f"{'Signed by the CA that was there' if renewed else 'Made a CA'}, in {out}/:")
    for line in _told(ca, server, client, hosts, days):
        typer.echo(line)


def _checked(host: str) -> str:
    try:
        ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            misused(f"--host {host!r} is neither a host name nor an address, without a port")
    return host


def _refuse_foreign(files: Iterable[PairFiles], authority: Authority | None) -> None:
    """Exit rather than overwrite what this command has not made."""
    for each in files:
        if not each.exist:
            continue
        there = each.certificate.exists() and each.certificate.read_bytes()
        if not (authority and there and authority.signed(there)):
            fail(
                f"{each.certificate} or its key was not made here; choose another --out, or "
                "replace all that is there with --force"
            )


def _new(files: PairFiles, now: datetime, days: int) -> Authority:
    authority = Authority.new(now=now, length=CA_LENGTH)
    files.write(authority.pair)
    return Authority(pair=authority.pair, now=now, length=timedelta(days=days))


def _load(files: PairFiles, now: datetime, days: int) -> Authority:
    try:
        certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
        return Authority.load(certificate, key, now=now, length=timedelta(days=days))
    except FileNotFoundError as error:
        fail(f"half a CA is there: {error.filename} is missing; bring it back, or use --force")
    except (ValueError, TypeError) as error:
        fail(f"{files.certificate} is no CA to sign with: {error}; use --force to replace it")


def _told(
    ca: PairFiles, server: PairFiles, client: PairFiles, hosts: list[str], days: int
) -> Iterator[str]:
    yield f"  {ca.certificate.name} and .key: the CA"
    yield f"  {server.certificate.name} and .key: for {', '.join(hosts)}; {days} days"
    yield f"  {client.certificate.name} and .key: for the client {CLIENT}; {days} days"
    yield ""
    yield "The services, which then serve TLS and call each other over it:"
    yield f"  export MAINSTAY_TLS_CERTIFICATE={server.certificate.absolute()}"
    yield f"  export MAINSTAY_TLS_KEY={server.key.absolute()}"
    yield f"  export MAINSTAY_TLS_CA={ca.certificate.absolute()}"
    yield "and only for clients with a certificate:"
    yield f"  export MAINSTAY_TLS_CLIENT_CA={ca.certificate.absolute()}"
    yield "This command line, which needs MAINSTAY_TLS_CA too, then needs:"
    yield f"  export MAINSTAY_TLS_CLIENT_CERTIFICATE={client.certificate.absolute()}"
    yield f"  export MAINSTAY_TLS_CLIENT_KEY={client.key.absolute()}"
    yield "Clients of the SDK: Credentials(tls=Tls(ca=..., certificate=..., key=...))."
