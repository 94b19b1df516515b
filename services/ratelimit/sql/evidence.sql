-- What was decided and denied. Arrays of one statement are columns of one table; numbers are counts.

-- name: add_evidence
-- Adds what one replica counted and denied, unless the batch of this id was added before.
WITH batch AS (
    INSERT INTO ratelimit.evidence_batches (batch_id) VALUES ($1)
    ON CONFLICT DO NOTHING
    RETURNING batch_id
),
counted AS (
    SELECT counted.*
    FROM batch, unnest(
        $2::text[], $3::text[], $4::text[], $5::timestamptz[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[]
    ) AS counted (
        tenant, rule, plan, minute, allowed, denied, shadow_denied, degraded, dropped
    )
),
hours AS (
    INSERT INTO ratelimit.rate_limit_statistics_by_hour AS known (
        tenant, rule, plan, hour, allowed, denied, shadow_denied, degraded, dropped
    )
    SELECT
        tenant, rule, plan, date_trunc('hour', minute, 'UTC') AS hour,
        sum(allowed), sum(denied), sum(shadow_denied), sum(degraded), sum(dropped)
    FROM counted
    GROUP BY tenant, rule, plan, hour
    ORDER BY tenant, rule, plan, hour
    ON CONFLICT (tenant, rule, plan, hour) DO UPDATE SET
        allowed = known.allowed + excluded.allowed,
        denied = known.denied + excluded.denied,
        shadow_denied = known.shadow_denied + excluded.shadow_denied,
        degraded = known.degraded + excluded.degraded,
        dropped = known.dropped + excluded.dropped
),
minutes AS (
    INSERT INTO ratelimit.rate_limit_statistics AS known (
        tenant, rule, plan, minute, allowed, denied, shadow_denied, degraded, dropped
    )
    SELECT tenant, rule, plan, minute, allowed, denied, shadow_denied, degraded, dropped
    FROM counted
    -- In one order, so that two replicas with the same rows wait for each other instead of
    -- deadlocking.
    ORDER BY tenant, rule, plan, minute
    ON CONFLICT (tenant, rule, plan, minute) DO UPDATE SET
        allowed = known.allowed + excluded.allowed,
        denied = known.denied + excluded.denied,
        shadow_denied = known.shadow_denied + excluded.shadow_denied,
        degraded = known.degraded + excluded.degraded,
        dropped = known.dropped + excluded.dropped
)
INSERT INTO ratelimit.rate_limit_violations (
    tenant, subject, rule, endpoint, plan, reason, shadow,
    count, start_time, end_time, request_id, limit_text
)
SELECT
    tenant, subject, rule, endpoint, plan, reason, shadow,
    count, start_time, end_time, request_id, limit_text
FROM batch, unnest(
    $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::boolean[],
    $18::bigint[], $19::timestamptz[], $20::timestamptz[], $21::text[], $22::text[]
) AS violation (
    tenant, subject, rule, endpoint, plan, reason, shadow,
    count, start_time, end_time, request_id, limit_text
)

-- name: plan_for_values
-- Has the statements of this transaction planned for the values they come with: which index serves
-- depends on what is asked for.
SET LOCAL plan_cache_mode = force_custom_plan

-- name: list_violations
-- Returns the violations that began within a time, the newest first, that come after one of them:
-- $6 is when that began, $7 its id, and $8 how many are wanted.
SELECT
    violation_id, tenant, subject, rule, endpoint, plan, reason, shadow,
    count, start_time, end_time, request_id, limit_text
FROM ratelimit.rate_limit_violations
WHERE
    ($1::text = '*' OR tenant = $1)
    AND ($2::text = '' OR subject = $2)
    AND ($3::text = '' OR rule = $3)
    AND start_time >= $4::timestamptz
    AND start_time < $5::timestamptz
    AND (start_time, violation_id) < ($6::timestamptz, $7::bigint)
ORDER BY start_time DESC, violation_id DESC
LIMIT $8::integer

-- name: sum_statistics
-- Returns the sum of what was decided since a minute, and after it up to $5 groups by tenant, rule and
-- plan, those with most denials first. What only tells that something was dropped is in the sum alone.
SELECT
    tenant, rule, plan,
    coalesce(sum(allowed), 0)::bigint AS allowed,
    coalesce(sum(denied), 0)::bigint AS denied,
    coalesce(sum(shadow_denied), 0)::bigint AS shadow_denied,
    coalesce(sum(degraded), 0)::bigint AS degraded,
    coalesce(sum(dropped), 0)::bigint AS dropped
FROM ratelimit.rate_limit_statistics
WHERE
    ($1::text = '*' OR tenant = $1)
    AND ($2::text = '' OR rule IN ($2, ''))
    AND ($3::text = '' OR plan = $3 OR rule = '')
    AND minute >= $4::timestamptz
GROUP BY GROUPING SETS ((tenant, rule, plan), ())
HAVING grouping(tenant) = 1 OR rule <> ''
ORDER BY
    grouping(tenant) DESC, denied DESC, shadow_denied DESC, allowed DESC, tenant, rule, plan
LIMIT $5::bigint + 1

-- name: sum_statistics_by_hour
-- Returns the same since an hour, from what was summed up by the hour.
SELECT
    tenant, rule, plan,
    coalesce(sum(allowed), 0)::bigint AS allowed,
    coalesce(sum(denied), 0)::bigint AS denied,
    coalesce(sum(shadow_denied), 0)::bigint AS shadow_denied,
    coalesce(sum(degraded), 0)::bigint AS degraded,
    coalesce(sum(dropped), 0)::bigint AS dropped
FROM ratelimit.rate_limit_statistics_by_hour
WHERE
    ($1::text = '*' OR tenant = $1)
    AND ($2::text = '' OR rule IN ($2, ''))
    AND ($3::text = '' OR plan = $3 OR rule = '')
    AND hour >= $4::timestamptz
GROUP BY GROUPING SETS ((tenant, rule, plan), ())
HAVING grouping(tenant) = 1 OR rule <> ''
ORDER BY
    grouping(tenant) DESC, denied DESC, shadow_denied DESC, allowed DESC, tenant, rule, plan
LIMIT $5::bigint + 1

-- name: delete_old_evidence
-- Deletes at most $2 rows of each table that are older than $1, minutes after 30 days at the latest;
-- returns how many it was of the table with most.
SELECT ratelimit.delete_old_evidence($1::interval, $2::integer)
