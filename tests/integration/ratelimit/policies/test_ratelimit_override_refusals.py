"""Overrides that cannot be put: what is wrong with them, and the way out."""

from datetime import timedelta

import asyncpg
import pytest

from mainstay.errors import NotFoundError, QuotaError, ValidationError
from services.ratelimit.overriding import OverrideDraft, OverrideKey
from tests.integration.ratelimit.policies.conftest import StartReplica
from tests.integration.ratelimit.policies.override_rows import BOB, OTHER, insert
from tests.integration.ratelimit.policies.policy_replica import (
    ACME,
    ANN,
    DAY,
    PolicyReplica,
    by,
    now_us,
    text_of,
)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "field", "told"),
        [
            ({"subject": ""}, "override.subject", "is empty"),
            ({"subject": "a\n"}, "override.subject", "control character"),
            ({"rule": ""}, "override.rule", "is empty; ListLimits"),
            ({"limits": ""}, "override.limits", "is empty"),
            ({"limits": "x" * 201}, "override.limits", "has 201 characters"),
            ({"limits": "99"}, "override.limits", "is '99'; write one such as 20/min"),
            ({"lasts": -1}, "override.expire_time", "is over; give a time to come"),
            (
                {"lasts": 367 * DAY},
                "override.expire_time",
                "is too far away; give a time at most 366",
            ),
        ],
    )
    async def test_name_the_field_and_the_way_out(
        self, here: PolicyReplica, change: dict[str, str | int], field: str, told: str
    ) -> None:
        """Nothing is stored."""
        values: dict[str, str | int] = {
            "subject": ANN,
            "rule": "api",
            "limits": "9/s",
            "lasts": DAY,
        }
        values.update(change)
        draft = OverrideDraft(
            OverrideKey(ACME, str(values["rule"]), str(values["subject"])),
            str(values["limits"]),
            now_us() + int(values["lasts"]),
            "test",
            "",
        )
        with pytest.raises(ValidationError) as caught:
            await here.overriding.put(draft, by("ann", "r"))

        assert [field] == list(caught.value.fields)
        assert told in caught.value.fields[field]

    async def test_tell_all_mistakes_at_once(self, here: PolicyReplica) -> None:
        """One call finds them all."""
        draft = OverrideDraft(OverrideKey(ACME, "", ""), "", 0, "", "")
        with pytest.raises(ValidationError) as caught:
            await here.overriding.put(draft, by("ann", "r"))

        parts = ("subject", "rule", "limits", "expire_time", "reason")
        assert [f"override.{part}" for part in parts] == list(caught.value.fields)

    async def test_a_rule_that_there_is_not(self, here: PolicyReplica) -> None:
        """With where to find those that there are."""
        with pytest.raises(NotFoundError) as caught:
            await here.override("99/min", rule="nothing")

        assert "RULE_NOT_FOUND" == caught.value.reason

    async def test_limits_of_another_kind_than_the_rule(self, start_replica: StartReplica) -> None:
        """Places are a number, rates have a window."""
        here = await start_replica()
        await here.edit(
            text_of("10/min") + "concurrency:\n  - {name: rooms, endpoints: [a], default: 1}\n"
        )
        with pytest.raises(ValidationError, match="places"):
            await here.override("99/min", rule="rooms")

        assert await here.override("7", rule="rooms")

    async def test_more_than_a_tenant_may_have(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Those that are there can still be changed; those that have ended do not count."""
        await insert(rows, 10_000, timedelta(days=1))
        with pytest.raises(QuotaError, match="10,000 already"):
            await here.override("99/min", subject=BOB)
        await here.override("99/min", subject="user:7")
        await here.override("99/min", subject=BOB, tenant=OTHER)
        await rows.execute(
            "UPDATE ratelimit.overrides SET expire_time = now() WHERE subject = 'user:8'"
        )
        await here.override("99/min", subject=BOB)

        assert "99/min" == here.limit_of(BOB)
