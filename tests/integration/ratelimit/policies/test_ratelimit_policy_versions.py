"""The policy by call: versions, and the way back to them."""

import asyncio
import hashlib
from pathlib import Path
from socket import gethostname

import asyncpg
import pytest
from structlog.testing import capture_logs

from mainstay.errors import ConflictError, NotFoundError, PreconditionError, ValidationError
from services.ratelimit.paging import Page
from tests.integration.ratelimit.policies.conftest import StartReplica
from tests.integration.ratelimit.policies.policy_replica import (
    ACME,
    PolicyReplica,
    by,
    text_of,
)
from tests.integration.shared.waiting import until


async def versions_in(rows: asyncpg.Connection) -> list[tuple[int, str]]:
    """Return the versions that are stored, and who put them."""
    found = await rows.fetch(
        "SELECT version, creator FROM ratelimit.policy_versions ORDER BY version"
    )
    return [(row["version"], row["creator"]) for row in found]


class TestPut:
    async def test_a_policy_is_in_force_when_the_call_returns(self, here: PolicyReplica) -> None:
        """As the version after that of the file."""
        version = await here.put("20/min")

        assert ("20/min", 2) == here.in_force
        assert (2, "ann", "test") == (version.version, version.creator, version.reason)
        assert hashlib.sha256(text_of("20/min").encode()).hexdigest() == version.digest

    async def test_it_is_in_force_on_other_replicas_at_once(
        self, start_replica: StartReplica
    ) -> None:
        """They are told; their next look of their own would be in a minute."""
        here = await start_replica()
        there = await start_replica(running=True, interval=60.0)
        await until(lambda: there.in_force == ("10/min", 1) and there.hears)
        async with asyncio.timeout(2):
            await here.put("20/min")
            await until(lambda: there.in_force == ("20/min", 2))

    async def test_it_is_in_force_on_replicas_that_are_not_told(
        self, start_replica: StartReplica
    ) -> None:
        """Whoever missed the hint sees the change at the next look."""
        here, there = await start_replica(), await start_replica()
        await here.put("20/min")
        before = there.in_force
        await there.revisions.run_once()

        assert (("10/min", 1), ("20/min", 2)) == (before, there.in_force)

    async def test_a_policy_with_mistakes_is_refused_whole(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Line and field of every mistake are told, and nothing is stored."""
        with pytest.raises(ValidationError) as caught:
            await here.put("20", request_id="wrong")

        assert "POLICY_REFUSED" == caught.value.reason
        assert ["limits[0].default"] == list(caught.value.fields)
        assert caught.value.fields["limits[0].default"].startswith("line 3: is '20'; write one")
        assert (("10/min", 1), [(1, "file")]) == (here.in_force, await versions_in(rows))

    async def test_many_mistakes_fit_into_an_error(self, here: PolicyReplica) -> None:
        """Errors travel in headers: the first ones are told, and how many more there are."""
        rules = "".join(f'  - {{name: r{n}, endpoints: ["{n}*"], default: 1}}\n' for n in range(99))
        with pytest.raises(ValidationError, match="more mistakes") as caught:
            await here.versions.validate(f"version: 1\nlimits:\n{rules}")

        assert (20, True) == (len(caught.value.fields), len(caught.value.message) < 5_000)

    @pytest.mark.parametrize(
        ("text", "reason", "field"),
        [("", "why", "text"), ("a\0b", "why", "text"), ("x" * 2**21, "why", "text")]
        + [(text_of("1/s"), reason, "reason") for reason in ("", " ", "x" * 501, "a\nb")],
    )
    async def test_what_is_no_text_or_no_reason_is_refused(
        self, here: PolicyReplica, text: str, reason: str, field: str
    ) -> None:
        """Whoever changes a policy says why."""
        with pytest.raises(ValidationError) as caught:
            await here.versions.put(ACME, text, reason=reason, expected=None, actor=by("a", "r"))

        assert [field] == list(caught.value.fields)

    async def test_it_is_written_down_who_did_it(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Also that the file did it; and it is in the log."""
        with capture_logs() as lines:
            await here.put("20/min", request_id="r-7")
        found = await rows.fetch(
            "SELECT tenant, principal, request_id, action, target, reason, "
            "details->>'version' AS version FROM ratelimit.audit_log ORDER BY audit_id"
        )

        assert [
            (
                "*",
                "file",
                "",
                "load_policy",
                "version 1",
                f"the file on {gethostname()} says something else",
                "1",
            ),
            ("acme", "ann", "r-7", "put_policy", "version 2", "test", "2"),
        ] == [tuple(row) for row in found]
        (line,) = [line for line in lines if line["event"] == "audited"]
        assert ("put_policy", "ann", "r-7") == (
            line["action"],
            line["principal"],
            line["request_id"],
        )

    async def test_a_call_that_is_repeated_makes_one_version(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """As after a commit that was not acknowledged; another call makes another one."""
        first = await here.put("20/min", expected=1, request_id="same")
        again = await here.put("20/min", expected=1, request_id="same")
        other = await here.put("20/min", expected=2, request_id="other")

        assert (first, 3) == (again, other.version)
        assert [(1, "file"), (2, "ann"), (3, "ann")] == await versions_in(rows)


class TestExpectedVersion:
    async def test_another_one_in_force_is_a_conflict(self, here: PolicyReplica) -> None:
        """Somebody else was faster."""
        await here.put("20/min", request_id="a")
        with pytest.raises(ConflictError, match="version 2 of the policy is in force, not 1") as it:
            await here.put("30/min", expected=1, request_id="b")

        assert ("ETAG_MISMATCH", ("20/min", 2)) == (it.value.reason, here.in_force)

    async def test_of_many_who_expect_the_same_one_wins(self, start_replica: StartReplica) -> None:
        """On whichever replica they call."""
        replicas = [await start_replica() for _ in range(2)]
        results = await asyncio.gather(
            *(
                replicas[n % 2].put(f"{20 + n}/min", expected=1, request_id=str(n))
                for n in range(6)
            ),
            return_exceptions=True,
        )

        won = [result for result in results if not isinstance(result, BaseException)]
        assert [2] == [version.version for version in won]
        assert [ConflictError] * 5 == [type(it) for it in results if isinstance(it, BaseException)]


class TestFind:
    async def test_without_a_version_finds_what_is_in_force(self, here: PolicyReplica) -> None:
        """With its text."""
        await here.put("20/min")
        found = await here.versions.find(None)

        assert found.version is not None
        assert (2, text_of("20/min"), True, "") == (found.version.version, *found[1:])

    async def test_an_earlier_version_is_found_too(self, here: PolicyReplica) -> None:
        """And is said not to be in force."""
        await here.put("20/min")
        found = await here.versions.find(1)

        assert found.version is not None
        assert ("file", text_of("10/min"), False, "") == (found.version.creator, *found[1:])

    async def test_one_that_there_is_not_is_told(self, here: PolicyReplica) -> None:
        """With where to find those that there are."""
        with pytest.raises(NotFoundError, match="ListPolicyVersions") as caught:
            await here.versions.find(9)
        with pytest.raises(ValidationError):
            await here.versions.find(0)

        assert "POLICY_VERSION_NOT_FOUND" == caught.value.reason

    async def test_versions_are_listed_in_pages(self, here: PolicyReplica) -> None:
        """The newest first; which one is in force, and whether there are more."""
        for number in range(4):
            await here.put(f"{20 + number}/min", request_id=str(number))
        first, in_force, more = await here.versions.page(Page(3, None))
        last, _, no_more = await here.versions.page(Page(3, (first[-1].version,)))

        assert [5, 4, 3, 2, 1] == [version.version for version in (*first, *last)]
        assert (5, True, False) == (in_force, more, no_more)


class TestRollBack:
    async def test_the_earlier_text_is_a_new_version(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """History only grows."""
        await here.put("20/min")
        version = await here.versions.roll_back(ACME, 1, reason="oops", actor=by("bob", "r-2"))
        audited = await rows.fetchval(
            "SELECT details->>'to_version' FROM ratelimit.audit_log "
            "WHERE action = 'roll_back_policy' AND principal = 'bob' AND reason = 'oops'"
        )

        assert (3, ("10/min", 3), "1") == (version.version, here.in_force, audited)

    async def test_a_text_that_is_no_longer_valid_is_refused(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """As after an update of the service that reads less."""
        await rows.execute(
            "INSERT INTO ratelimit.policy_versions "
            "(version, text, digest, source, creator, reason, request_id) "
            "VALUES (2, 'version: 0', repeat('0', 64), 'call', 'x', 'x', '')"
        )
        with pytest.raises(ValidationError) as caught:
            await here.versions.roll_back(ACME, 2, reason="oops", actor=by("bob", "r-2"))

        assert ("POLICY_REFUSED", ("10/min", 1)) == (caught.value.reason, here.in_force)

    async def test_one_that_there_is_not_is_told(self, here: PolicyReplica) -> None:
        """Nothing is changed."""
        with pytest.raises(NotFoundError):
            await here.versions.roll_back(ACME, 7, reason="oops", actor=by("bob", "r-2"))

        assert ("10/min", 1) == here.in_force


class TestWithoutDatabase:
    async def test_the_file_is_what_there_is(self, start_replica: StartReplica, path: Path) -> None:
        """It has no version, and nothing can be put."""
        here = await start_replica(postgres_url=None)
        found = await here.versions.find(None)
        await here.versions.validate(text_of("20/min"))

        assert (None, text_of("10/min"), True, "") == found
        assert ("10/min", 0) == here.in_force
        with pytest.raises(PreconditionError) as caught:
            await here.put("20/min")
        assert "NO_DATABASE" == caught.value.reason
