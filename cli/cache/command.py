"""`mainstay cache`: read, write and look at cached entries from a terminal."""

import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cli.arguments import length
from cli.asking import FAILED, Service, ask, misused, sensible
from cli.cache import documents, listing
from cli.cache.arguments import place, value
from cli.cache.target import chosen
from cli.console import console
from cli.documents import text
from cli.wording import length as in_words
from cli.wording import moment, words
from mainstay.cache.client import CacheClient, Hit
from mainstay.channel import Channel

CACHE = Service(name="cache", called="the cache", answers="does")

T = TypeVar("T")

Name = Annotated[str, typer.Argument(metavar="NAMESPACE/KEY", help="The entry, such as video/42.")]
Tenant = Annotated[str | None, typer.Option(help="Whose entries. Default: the service's default.")]
DataDir = Annotated[Path, typer.Option(help="The --data-dir of the suite that runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
HERE = Path(".mainstay")

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def cache() -> None:
    """Read, write and look at cached entries.

    Asks the cache at MAINSTAY_CACHE_ADDRESS, or that of the suite that `mainstay up` runs. The exit
    status is 1 for a miss or a failure and 2 for a command that makes no sense.
    """


@app.command()
def get(
    name: Name,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell about the entry on stderr.")
    ] = False,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Print the value of an entry, byte for byte.

    A miss is told on stderr with its reason, and the exit status is 1.
    """
    at = sensible(lambda: place(name))
    found = _ask(lambda cache: cache.get(at.namespace, at.key), tenant, data_dir)
    if json:
        typer.echo(text(documents.read(found)))
    elif isinstance(found, Hit):
        sys.stdout.buffer.write(found.value)
        sys.stdout.buffer.flush()
        if verbose:
            typer.echo(_about(found), err=True)
    else:
        typer.echo(f"miss: {words(found.reason.value)}", err=True)
    if not isinstance(found, Hit):
        raise typer.Exit(FAILED)


@app.command(name="set")
def write(
    name: Name,
    value_or_file: Annotated[
        str | None,
        typer.Argument(metavar="[VALUE|@FILE]", help="Read from stdin when not given."),
    ] = None,
    ttl: Annotated[str | None, typer.Option(help="How long it lives: 90s, 5m, 1h, 7d.")] = None,
    ttl_class: Annotated[
        str | None, typer.Option("--class", help="The class of the cache policy instead.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="To invalidate it by; repeatable.")] = None,
    content_type: Annotated[str, typer.Option(help="A media type to keep with it.")] = "",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
) -> None:
    """Write an entry over what stands there."""
    at = sensible(lambda: place(name))
    ttl_given = sensible(lambda: None if ttl is None else length(ttl, "--ttl"))
    if ttl_given is not None and ttl_class is not None:
        misused("--ttl and --class exclude each other; give one")
    bytes_given = sensible(lambda: value(value_or_file))
    written = _ask(
        lambda cache: cache.set(
            at.namespace,
            at.key,
            bytes_given,
            ttl=ttl_given,
            ttl_class=ttl_class,
            content_type=content_type,
            tags=tag or (),
        ),
        tenant,
        data_dir,
    )
    end = "never ends" if written.expire_time is None else f"ends {moment(written.expire_time)}"
    typer.echo(f"{name} written: {len(bytes_given)} bytes, version {written.version}, {end}")


@app.command()
def inspect(
    name: Name, tenant: Tenant = None, data_dir: DataDir = HERE, json: Json = False
) -> None:
    """Tell all that is known of an entry but its value.

    Does not count as a read, and shows entries that reads don't find any more.
    """
    at = sensible(lambda: place(name))
    found = _ask(lambda cache: cache.inspect(at.namespace, at.key), tenant, data_dir)
    if json:
        typer.echo(text(documents.inspected(found)))
    else:
        console().print(listing.inspection(found))


@app.command()
def invalidate(
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMESPACE/KEY", help="An entry; repeatable within one namespace."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="All with this tag; repeatable.")] = None,
    prefix: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE/PREFIX", help="All whose key begins so."),
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="All of a namespace.")] = None,
    event: Annotated[
        str | None, typer.Option(metavar="TYPE", help="All that the policy says it makes stale.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A part of its data (a.b for one within a)."),
    ] = None,
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
) -> None:
    """Make entries stale for good, for every replica and every copy near a client."""
    target = sensible(
        lambda: chosen(
            keys=key or (),
            tags=tag or (),
            prefix=prefix,
            namespace=namespace,
            event=event,
            event_data=data or (),
        )
    )
    done = _ask(target.invalidate, tenant, data_dir)
    tags = f" (tags {', '.join(done.tags)})" if event is not None else ""
    typer.echo(f"invalidated {target.what}{tags}, sequence {done.sequence}")


@app.command()
def stats(
    namespace: Annotated[str, typer.Option(help="Only this namespace.")] = "",
    ttl_class: Annotated[str, typer.Option("--class", help="Only this class.")] = "",
    window: Annotated[str, typer.Option(help="How far back, in whole minutes: 1m to 24h.")] = "1h",
    tenant: Tenant = None,
    data_dir: DataDir = HERE,
    json: Json = False,
) -> None:
    """Count hits, misses with their reasons, and what the cache saved, over all replicas."""
    span: timedelta = sensible(lambda: length(window, "--window"))
    counted = _ask(
        lambda cache: cache.stats(namespace=namespace, ttl_class=ttl_class, window=span),
        tenant,
        data_dir,
    )
    if json:
        typer.echo(text(counted))
        return
    screen = console()
    screen.print(listing.summary(counted, in_words(span)))
    if counted.groups:
        screen.print()
        screen.print(listing.groups(counted))
    if counted.total.misses:
        screen.print()
        screen.print(listing.misses(counted.total))
    screen.print()
    screen.print(listing.computations(counted.total))
    if counted.quotas:
        screen.print()
        screen.print(listing.quotas(counted.quotas))


def _about(found: Hit) -> str:
    end = "never ends" if found.expire_time is None else f"ends {moment(found.expire_time)}"
    facts = [f"{len(found.value)} bytes", f"version {found.version}", end]
    if found.content_type:
        facts.insert(0, found.content_type)
    if found.ttl_class:
        facts.append(f"class {found.ttl_class}")
    if found.tags:
        facts.append(f"tags {', '.join(found.tags)}")
    return ", ".join(facts)


def _ask(call: Callable[[CacheClient], Awaitable[T]], tenant: str | None, data_dir: Path) -> T:
    async def connected(channel: Channel) -> T:
        async with CacheClient(channel) as client:
            return await call(client)

    return ask(CACHE, connected, tenant=tenant, data_dir=data_dir)
