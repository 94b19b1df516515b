"""Asks a service for a command, or says in one line why it did not answer, and exits."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import typer

from cli.arguments import UsageError
from cli.credentials import API_KEY, credentials_to
from cli.run_directory import RunDirectory
from mainstay.channel import Channel
from mainstay.client import DEFAULT_ADDRESSES
from mainstay.errors import AuthenticationError, MainstayError, UnavailableError, ValidationError
from mainstay.handshakes import TLS_FAILED

FAILED = 1
MISUSED = 2
DENIED = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that commands ask.

    Attributes:
        name: As in the settings.
        called: As a sentence begins.
        answers: The verb that goes with it, such as `does`.

    """

    name: str
    called: str
    answers: str

    @property
    def variable(self) -> str:
        """Return the variable that says where it is."""
        return f"MAINSTAY_{self.name.upper()}_ADDRESS"


def ask(
    service: Service,
    call: Callable[[Channel], Awaitable[T]],
    *,
    tenant: str | None,
    data_dir: Path,
) -> T:
    """Ask the service at its variable's address, or that of the suite that runs."""
    running = RunDirectory(data_dir.absolute()).read_addresses()
    given = os.environ.get(service.variable) or running.get(service.variable)
    address = given or DEFAULT_ADDRESSES[service.name]

    async def connected() -> T:
        credentials = credentials_to(address)
        async with Channel(address, tenant=tenant, credentials=credentials) as channel:
            return await call(channel)

    try:
        return asyncio.run(connected())
    except ValidationError as error:
        misused(_mistakes(error))
    except UnicodeEncodeError as error:
        # A terminal hands over any bytes; those that are no text arrive as lone surrogates.
        misused(f"{error.object!r} is not UTF-8; write names, keys and tags in UTF-8")
    except MainstayError as error:
        fail(_what_failed(error, service, address))


def _mistakes(error: ValidationError) -> str:
    """Return the message, and of each field what the message does not say already."""
    said = error.message
    unsaid = [f"{name} {text}" for name, text in error.fields.items() if text not in said]
    return "; ".join([said, *unsaid])


def _what_failed(error: MainstayError, service: Service, address: str) -> str:
    """Return what a service said, or where it is not, for then it said nothing."""
    if isinstance(error, AuthenticationError):
        return f"{error.message}; {API_KEY} says by which key this command line is known"
    if error.reason == TLS_FAILED:
        return (
            f"{service.called} at {address} {service.answers} not agree on TLS: {error.message}; "
            "MAINSTAY_TLS_CA names the CAs that are trusted here"
        )
    if error.reason != UnavailableError.default_reason:
        return error.message
    cause = error.message.rpartition(": ")[2].rstrip("])")
    return (
        f"{service.called} {service.answers} not answer at {address} ({cause}); is it running? "
        f"`mainstay up` starts it, and {service.variable} says where it is"
    )


def sensible(parse: Callable[[], T]) -> T:
    """Return what was typed, or exit because it makes no sense."""
    try:
        return parse()
    except UsageError as error:
        misused(str(error))


def misused(message: str) -> NoReturn:
    """Exit because the command makes no sense; each of several mistakes has a line."""
    _exit(MISUSED, "\n  ".join(_line(each) for each in message.split("\n")))


def fail(message: str) -> NoReturn:
    """Exit because the command could not be carried out."""
    # What a service says may have lines; what a person reads here is one.
    _exit(FAILED, _line(message))


def _line(text: str) -> str:
    return " ".join(text.split())


def _exit(code: int, message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code) from None
