-- Rows of lists by their number, $1: the greater it is, the later a row comes in the order of its
-- table. Names are n and twelve digits.

-- name: add_jobs
-- A dead letter's record.
INSERT INTO jobs.jobs (
    job_id, tenant, function, event_id, state, max_attempts, initial_backoff, max_backoff,
    request_id, traceparent, end_time, ready_time, failure_kind, failure_message, failure_permanent
)
VALUES (
    ('00000000-0000-7000-8000-' || lpad($1::int::text, 12, '0'))::uuid, 'acme', 'f',
    gen_random_uuid(), 'dead_lettered', 3, '1 s', '1 s', 'r', '', now(), NULL, 'Broken', 'no', true
)

-- name: take_jobs
-- The same.
DELETE FROM jobs.jobs
WHERE job_id = ('00000000-0000-7000-8000-' || lpad($1::int::text, 12, '0'))::uuid

-- name: add_dead_letters
-- With its record.
WITH record AS (
    INSERT INTO jobs.jobs (
        job_id, tenant, function, event_id, state, max_attempts, initial_backoff, max_backoff,
        request_id, traceparent, end_time, ready_time,
        failure_kind, failure_message, failure_permanent
    )
    VALUES (
        ('00000000-0000-7000-8000-' || lpad($1::int::text, 12, '0'))::uuid, 'acme', 'f',
        gen_random_uuid(), 'dead_lettered', 3, '1 s', '1 s', 'r', '', now(), NULL,
        'Broken', 'no', true
    )
    RETURNING job_id, tenant, function, failure_kind, end_time
)
INSERT INTO jobs.dead_letters SELECT * FROM record

-- name: take_dead_letters
-- As when it is discarded.
DELETE FROM jobs.dead_letters
WHERE job_id = ('00000000-0000-7000-8000-' || lpad($1::int::text, 12, '0'))::uuid

-- name: add_functions
-- Which is a queue too.
INSERT INTO jobs.functions (
    tenant, name, trigger, max_attempts, initial_backoff, max_backoff
)
VALUES ('acme', 'n' || lpad($1::int::text, 12, '0'), '', 3, '1 s', '1 s')

-- name: take_functions
-- The same.
DELETE FROM jobs.functions WHERE name = 'n' || lpad($1::int::text, 12, '0')

-- name: add_schedules
-- With its tick in a year.
INSERT INTO jobs.schedules (tenant, name, cron, time_zone, function, data, next_time)
VALUES (
    'acme', 'n' || lpad($1::int::text, 12, '0'), '0 0 1 1 *', 'UTC', 'f', '{}',
    now() + interval '1 year'
)

-- name: take_schedules
-- The same.
DELETE FROM jobs.schedules WHERE name = 'n' || lpad($1::int::text, 12, '0')

-- name: add_event_schemas
-- One that everything fits.
INSERT INTO jobs.event_schemas (tenant, name, version, schema)
VALUES ('acme', 'n' || lpad($1::int::text, 12, '0'), 1, '{}')

-- name: take_event_schemas
-- The same.
DELETE FROM jobs.event_schemas WHERE name = 'n' || lpad($1::int::text, 12, '0')

-- name: add_sessions
-- Of a worker that lives for an hour.
INSERT INTO jobs.sessions (session_id, tenant, worker, lease_expire_time)
VALUES (
    gen_random_uuid(), 'acme', 'n' || lpad($1::int::text, 12, '0'), now() + interval '1 hour'
)

-- name: take_sessions
-- The same.
DELETE FROM jobs.sessions WHERE worker = 'n' || lpad($1::int::text, 12, '0')

-- name: add_overrides
-- For a day.
INSERT INTO ratelimit.overrides (
    tenant, subject, rule, limits, expire_time, reason, creator, request_id, revision
)
VALUES (
    'acme', 'n' || lpad($1::int::text, 12, '0'), 'api', '1/min', now() + interval '1 day',
    '', '', '', 1
)

-- name: take_overrides
-- The same.
DELETE FROM ratelimit.overrides WHERE subject = 'n' || lpad($1::int::text, 12, '0')

-- name: add_policy_versions
-- Whose creator is its name.
INSERT INTO ratelimit.policy_versions (
    version, text, digest, source, creator, reason, request_id
)
VALUES (
    $1::int, '', repeat('0', 64), 'call', 'n' || lpad($1::int::text, 12, '0'), '', ''
)

-- name: take_policy_versions
-- The same.
DELETE FROM ratelimit.policy_versions WHERE version = $1::int

-- name: add_violations
-- Some hours ago, minute by minute.
INSERT INTO ratelimit.rate_limit_violations (
    tenant, subject, rule, endpoint, plan, reason, shadow, count, start_time, end_time, request_id,
    limit_text
)
SELECT
    'acme', 'n' || lpad($1::int::text, 12, '0'), 'api', '/', '', 'limit', false, 1, t, t, '', '1/s'
FROM (SELECT now() - interval '5 hours' + $1::int * interval '1 minute' AS t) AS times

-- name: take_violations
-- The same.
DELETE FROM ratelimit.rate_limit_violations WHERE subject = 'n' || lpad($1::int::text, 12, '0')

-- name: add_ai_usage
-- A call that cost its number.
INSERT INTO ratelimit.ai_api_usage (
    usage_id, tenant, subject, plan, provider, model, operation, input_tokens, output_tokens,
    cached_input_tokens, cost_micros, error, request_id, record_time
)
VALUES (
    gen_random_uuid(), 'acme', 'n' || lpad($1::int::text, 12, '0'), '', 'openai', 'm', '', 1, 1, 0,
    $1::int, '', '', now() - interval '1 hour'
)

-- name: take_ai_usage
-- The same.
DELETE FROM ratelimit.ai_api_usage WHERE subject = 'n' || lpad($1::int::text, 12, '0')
