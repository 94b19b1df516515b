-- Functions as workers declare them. The tenant is $1 where rows of one tenant are meant.

-- name: declare_functions
-- Stores functions as declared, from an array of rows in JSON; the same declaration again writes
-- nothing. Returns those that a cap has come to or gone from.
WITH declared AS (
    SELECT f.*, (f.concurrency > 0 OR f.key_limit > 0) AS capped
    FROM json_populate_recordset(NULL::jobs.functions, $2::json) AS f
),
before AS (
    SELECT f.name, (f.concurrency > 0 OR f.key_limit > 0) AS capped
    FROM jobs.functions AS f
    JOIN declared USING (name)
    WHERE f.tenant = $1
),
stored AS (
    INSERT INTO jobs.functions AS known (
        tenant, name, trigger, max_attempts, initial_backoff, max_backoff, version, version_policy,
        timeout, hang_timeout, start_timeout, priority, concurrency, key_pointer, key_limit,
        rate_endpoint, rate_subject, debounce_period, debounce_key, debounce_max_wait, idempotency,
        overflow_policy, overflow_depth, overflow_age, overflow_bytes, spill_delay
    )
    SELECT
        $1, name, trigger, max_attempts, initial_backoff, max_backoff, version, version_policy,
        timeout, hang_timeout, start_timeout, priority, concurrency, key_pointer, key_limit,
        rate_endpoint, rate_subject, debounce_period, debounce_key, debounce_max_wait, idempotency,
        overflow_policy, overflow_depth, overflow_age, overflow_bytes, spill_delay
    FROM declared
    -- In one order, so that workers that come together wait for each other instead of deadlocking.
    ORDER BY name
    ON CONFLICT (tenant, name) DO UPDATE
    SET trigger = excluded.trigger,
        max_attempts = excluded.max_attempts,
        initial_backoff = excluded.initial_backoff,
        max_backoff = excluded.max_backoff,
        version = excluded.version,
        version_policy = excluded.version_policy,
        timeout = excluded.timeout,
        hang_timeout = excluded.hang_timeout,
        start_timeout = excluded.start_timeout,
        priority = excluded.priority,
        concurrency = excluded.concurrency,
        key_pointer = excluded.key_pointer,
        key_limit = excluded.key_limit,
        rate_endpoint = excluded.rate_endpoint,
        rate_subject = excluded.rate_subject,
        debounce_period = excluded.debounce_period,
        debounce_key = excluded.debounce_key,
        debounce_max_wait = excluded.debounce_max_wait,
        idempotency = excluded.idempotency,
        overflow_policy = excluded.overflow_policy,
        overflow_depth = excluded.overflow_depth,
        overflow_age = excluded.overflow_age,
        overflow_bytes = excluded.overflow_bytes,
        spill_delay = excluded.spill_delay
    WHERE to_jsonb(known) - '{create_time,update_time}'::text[]
        IS DISTINCT FROM to_jsonb(excluded) - '{create_time,update_time}'::text[]
)
SELECT declared.name, declared.capped
FROM declared
JOIN before USING (name)
WHERE declared.capped <> before.capped

-- name: count_running
-- Has caps count the jobs of a function that run already, or forget them. Of a function for all
-- tenants, those of tenants with one of their own are not meant.
UPDATE jobs.leases AS l
SET capped = $3
WHERE l.function = $2
    AND l.capped <> $3
    AND CASE WHEN $1 = '*' THEN NOT EXISTS (
        SELECT FROM jobs.functions AS own WHERE own.tenant = l.tenant AND own.name = $2
    ) ELSE l.tenant = $1 END

-- name: functions_for_events
-- Returns the functions that events of the names in $2 start. A tenant's own declaration of a
-- function goes before the one for all tenants, whatever starts it.
SELECT f.*
FROM jobs.functions AS f
WHERE f.trigger = ANY ($2::text[])
    AND (
        f.tenant = $1
        OR f.tenant = '*' AND NOT EXISTS (
            SELECT FROM jobs.functions AS own WHERE own.tenant = $1 AND own.name = f.name
        )
    )
ORDER BY f.name

-- name: find_functions
-- Returns functions by name; a tenant's own declaration goes before the one for all tenants.
SELECT DISTINCT ON (f.name) f.*
FROM jobs.functions AS f
WHERE f.tenant IN ($1, '*') AND f.name = ANY ($2::text[])
ORDER BY f.name, f.tenant = '*'
