"""A network namespace for each party, all joined by a router that drops what it is told to.

Addresses are of 127.77.0.0/16, which `route_localnet` lets pass between namespaces: to the services
it is loopback, where callers need not authenticate, and to TCP a network that loses packets. Needs
root and iproute2; everything is named after this process and removed at the end, and what a run
that was killed has left is removed by the next.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cli.process import Command

PREFIX = "mainstay-faults"
FOLDER = Path("/run/netns")
ENTER = Path(__file__).with_name("enter.py")
_LOOSE = (
    "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; echo 1 > /proc/sys/net/ipv4/ip_forward"
)


def possible() -> bool:
    """Tell whether this process may make namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    probe = f"{PREFIX}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return made.returncode == 0


class Namespaces:
    """The namespaces of parties; `callers` is one of them, in which this process has to be."""

    name = "network namespaces"

    def __init__(self, run: int, parties: Sequence[str]) -> None:
        self.run_id = run
        self._numbers = {party: number for number, party in enumerate(parties, start=1)}

    def host(self, party: str) -> str:
        """Return the address of a party."""
        return f"127.77.{self._numbers[party]}.2"

    async def address(self, source: str, target: str, port: int) -> str:
        """Return the address itself: what lies between is the router's."""
        return f"{self.host(target)}:{port}"

    def path(self, party: str) -> Path:
        """Return the file that names a party's namespace."""
        return FOLDER / self._named(party)

    def placed(self, party: str, command: Command) -> Command:
        """Return the command, run within the party's namespace."""
        account = command.account
        who = "-" if account is None else f"{account.uid}:{account.gid}"
        entering = [sys.executable, "-I", "-S", str(ENTER), str(self.path(party)), who]
        # It is root who enters; the account is taken on behind the door.
        return replace(command, argv=[*entering, *command.argv], account=None)

    def sever(self, one: str, other: str) -> None:
        """Have the router drop what one sends the other, silently, as a broken network would."""
        for source, target in ((one, other), (other, one)):
            self._rule("add", source, target)

    def mend(self, one: str, other: str) -> None:
        """Have it forward all of that again."""
        for source, target in ((one, other), (other, one)):
            self._rule("del", source, target)

    def _rule(self, act: str, source: str, target: str) -> None:
        pair = ["from", self.host(source), "to", self.host(target)]
        preference = 1_000 + self._numbers[source] * 100 + self._numbers[target]
        _ip("-n", self._named("router"), "rule", act, *pair, "blackhole", "pref", str(preference))

    def make(self) -> None:
        """Make all of it."""
        router = self._named("router")
        for name in (router, *map(self._named, self._numbers)):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            # The whole of 127/8 is local by default: then nothing of it would ever leave.
            _ip("-n", name, "addr", "del", "127.0.0.1/8", "dev", "lo")
            _ip("-n", name, "addr", "add", "127.0.0.1/32", "dev", "lo")
            _ip("netns", "exec", name, "sh", "-c", _LOOSE)
        for party, number in self._numbers.items():
            self._join(self._named(party), router, number)

    def _join(self, name: str, router: str, number: int) -> None:
        port = f"party{number}"
        net = f"127.77.{number}"
        _ip(
            "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", router
        )
        for where, device, last in ((name, "eth0", 2), (router, port, 1)):
            address = [f"{net}.{last}/24", "dev", device, "scope", "global"]
            _ip("-n", where, "addr", "add", *address)
            _ip("-n", where, "link", "set", device, "up")
        _ip("-n", name, "route", "add", "127.77.0.0/16", "via", f"{net}.1")

    def remove(self) -> None:
        """Remove all of it."""
        for name in ("router", *self._numbers):
            subprocess.run(
                ["ip", "netns", "del", self._named(name)], capture_output=True, check=False
            )

    def _named(self, party: str) -> str:
        return f"{PREFIX}-{self.run_id}-{party}"


@contextmanager
def namespaces(parties: Sequence[str]) -> Iterator[Namespaces]:
    """Have namespaces within the block."""
    _remove_left_over()
    made = Namespaces(os.getpid(), parties)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _remove_left_over() -> None:
    """Remove namespaces of runs whose process is gone."""
    for path in FOLDER.glob(f"{PREFIX}-*") if FOLDER.exists() else ():
        run = path.name.removeprefix(f"{PREFIX}-").partition("-")[0]
        if not Path(f"/proc/{run}").exists():
            subprocess.run(["ip", "netns", "del", path.name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
