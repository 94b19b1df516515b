"""`mainstay keys`, run as a person or a script runs it, on a database of the test's own."""

import asyncio
import json
import re
from typing import Protocol

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from cli.keys import store
from cli.main import app
from shared.identity.api_key import parse
from shared.identity.postgres_keys import MIGRATIONS

KEY = re.compile(r"msk_[0-9A-Za-z]{12}_[0-9A-Za-z]{32}")
BILLING = ("create", "billing", "--scope", "cache:*", "--scope", "jobs:send", "--tenant", "acme")


class Keys(Protocol):
    """Runs a command."""

    async def __call__(self, *arguments: str) -> Result:
        """Return what it said and how it ended."""
        ...


@pytest.fixture
def keys(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Keys:
    """Run commands in a thread, since they have a loop of their own, away from any suite here."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("MAINSTAY_POSTGRES_URL", migrated_url)
    monkeypatch.setattr(store, "account", lambda: "operator@desk")
    monkeypatch.setattr("cli.keys.command.account", lambda: "operator@desk")

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["keys", *arguments])

    return run


async def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """Look into the database, at the rows of all tenants."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET mainstay.tenant = '*'")
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


class TestCreate:
    async def test_prints_the_key_alone(self, keys: Keys) -> None:
        """So that a script can keep it; what it is good for is said beside."""
        done = await keys(*BILLING, "--expires", "90d")

        assert (0, True) == (done.exit_code, bool(KEY.fullmatch(done.stdout.strip())))
        assert 1 == done.stdout.count("\n")
        assert "good for cache:*, jobs:send in the tenant acme, until 20" in done.stderr
        assert not KEY.search(done.stderr)

    async def test_stores_a_digest_and_who_did_it(self, keys: Keys, migrated_url: str) -> None:
        """With a row in the audit log."""
        shown = parse((await keys(*BILLING)).stdout.strip())
        assert shown is not None
        stored = await rows(
            migrated_url,
            "SELECT key_id, digest, name, tenant, scopes, creator, expire_time, revoke_time "
            "FROM identity.api_keys",
        )
        told = await rows(
            migrated_url, "SELECT principal, proof, tenant, act, reason FROM identity.audit_log"
        )

        scopes = ["cache:*", "jobs:send"]
        assert [
            (shown.key_id, shown.digest, "billing", "acme", scopes, "operator@desk", None, None)
        ] == stored
        assert [("operator@desk", "command", "acme", "keys.create", f"msk_{shown.key_id}")] == told

    async def test_says_it_all_in_json(self, keys: Keys) -> None:
        """For programs: the key is one of the fields."""
        done = await keys("create", "all", "--scope", "*", "--all-tenants", "--json")
        made = json.loads(done.stdout)

        assert ("all", "*", ["*"]) == (made["name"], made["tenant"], made["scopes"])
        assert made["key"].startswith(f"msk_{made['key_id']}_")

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (("x", "--scope", "cache:fly", "--tenant", "a"), "'cache:fly' is no scope"),
            (("x", "--scope", "*"), "give one of --tenant and --all-tenants"),
            (("x", "--scope", "*", "--tenant", "a", "--all-tenants"), "give one of --tenant"),
            (("x", "--scope", "*", "--tenant", "*"), "--all-tenants is for all"),
            (("x", "--scope", "*", "--tenant", "a b"), "should be 1 to 64 letters"),
            (("", "--scope", "*", "--tenant", "a"), "1 to 100 printable characters"),
            (("a\nb", "--scope", "*", "--tenant", "a"), "1 to 100 printable characters"),
            (("x" * 101, "--scope", "*", "--tenant", "a"), "1 to 100 printable characters"),
            (("x", "--scope", "*", "--tenant", "a", "--expires", "0d"), "longer than nothing"),
            (("x", "--scope", "*", "--tenant", "a", "--expires", "3651d"), "at most 3650d"),
            (("x", "--scope", "*", "--tenant", "a", "--expires", "soon"), "--expires 'soon'"),
            (("x", "--tenant", "a"), "--scope"),
        ],
    )
    async def test_makes_nothing_that_makes_no_sense(
        self, keys: Keys, migrated_url: str, arguments: tuple[str, ...], what: str
    ) -> None:
        """And says what would."""
        done = await keys("create", *arguments)

        assert (2, "") == (done.exit_code, done.stdout)
        assert what in " ".join(done.stderr.split())
        assert [] == await rows(migrated_url, "SELECT 1 FROM identity.api_keys")

    async def test_stops_where_every_process_holds_as_many_as_it_can(
        self, keys: Keys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those that are revoked make room."""
        monkeypatch.setattr("shared.identity.postgres_administration.MAX_KEYS", 1)
        first = (await keys(*BILLING)).stdout.strip()
        refused = await keys(*BILLING)
        await keys("revoke", first)

        assert 1 == refused.exit_code
        assert "revoke some" in refused.stderr
        assert 0 == (await keys(*BILLING)).exit_code


class TestList:
    async def test_shows_everything_but_secrets(self, keys: Keys) -> None:
        """The newest first; revoked ones too."""
        first = (await keys(*BILLING, "--expires", "90d")).stdout.strip()
        second = (await keys("create", "ops", "--scope", "*", "--all-tenants")).stdout.strip()
        await keys("revoke", first)
        done = await keys("list")
        header, *lines = done.stdout.splitlines()

        titles = [
            "prefix",
            "name",
            "tenant",
            "scopes",
            "created",
            "expires",
            "last used",
            "revoked",
        ]
        assert titles == re.split(r"\s{2,}", header.strip())
        assert [second[:16], first[:16]] == [line.split()[0] for line in lines]
        assert re.search(r"ops +\* +\* +20[-0-9: ]+UTC +never +never +-", lines[0])
        assert re.search(
            r"billing +acme +cache:\* jobs:send +(20[-0-9: ]+UTC +){2}never +20", lines[1]
        )
        assert not KEY.search(done.output)

    async def test_says_the_same_in_json(self, keys: Keys) -> None:
        """With times as in RFC 3339."""
        await keys(*BILLING)
        (listed,) = json.loads((await keys("list", "--json")).stdout)

        assert ("billing", "acme", None) == (
            listed["name"],
            listed["tenant"],
            listed["expire_time"],
        )
        assert {"secret", "digest", "key"}.isdisjoint(listed)

    async def test_says_how_to_make_the_first(self, keys: Keys) -> None:
        """Where there are none."""
        assert "no API keys; `mainstay keys create` makes one\n" == (await keys("list")).stdout


class TestRevoke:
    @pytest.mark.parametrize("length", [None, 16], ids=["the whole key", "what list shows"])
    async def test_ends_a_key(self, keys: Keys, migrated_url: str, length: int | None) -> None:
        """Once, however often it is done."""
        key = (await keys(*BILLING)).stdout.strip()
        done = [await keys("revoke", key[:length]) for _ in range(2)]
        told = await rows(
            migrated_url, "SELECT act, reason FROM identity.audit_log ORDER BY time OFFSET 1"
        )

        assert [0, 0] == [each.exit_code for each in done]
        assert done[0].stdout == done[1].stdout
        assert f"{key[:16]} (billing) is revoked since 20" in done[0].stdout
        assert [("keys.revoke", key[:16])] == told

    async def test_knows_none_of_that_name(self, keys: Keys) -> None:
        """It fails: somebody wanted a key to end that goes on."""
        done = await keys("revoke", "msk_000000000000")

        assert (1, "") == (done.exit_code, done.stdout)
        assert "there is no API key msk_000000000000; `mainstay keys list`" in done.stderr

    async def test_does_not_repeat_what_may_be_a_key(self, keys: Keys) -> None:
        """One that was typed almost right."""
        done = await keys("revoke", f"msk_{'a' * 12}_{'b' * 31}")

        assert (2, False) == (done.exit_code, "bbb" in done.output)


class TestTheDatabase:
    async def test_has_to_be_migrated(self, keys: Keys, postgres_url: str) -> None:
        """By whoever may."""
        done = await keys("list", "--postgres-url", postgres_url)

        assert 1 == done.exit_code
        assert "lacks migrations of identity: 0001_identity; run `mainstay migrate`" in done.stderr

    async def test_may_be_named_by_an_argument(self, keys: Keys, other_postgres_url: str) -> None:
        """Which goes before the variable."""
        await MIGRATIONS.apply(other_postgres_url)
        await keys(*BILLING)
        listed = await keys("list", "--postgres-url", other_postgres_url)

        assert listed.stdout.startswith("no API keys")

    async def test_that_is_away_is_one_line(
        self, keys: Keys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the password."""
        monkeypatch.setenv("MAINSTAY_POSTGRES_URL", "postgresql://me:hidden@127.0.0.1:9/x")
        done = await keys("list")

        assert (1, 1) == (done.exit_code, done.stderr.count("\n"))
        assert "PostgreSQL cannot be used now" in done.stderr
        assert "hidden" not in done.output
