-- Events and jobs on their way in. The tenant is $1. Times that come in are in seconds.

-- name: find_keys
-- Returns what idempotency keys stand for; those older than 30 days are free. `job_ids` is null
-- where a replica of version 1 took the event.
SELECT key, event_id, content_hash, job_ids, create_time
FROM jobs.event_keys
WHERE tenant = $1 AND key = ANY ($2::text[]) AND create_time > now() - interval '30 days'

-- name: find_jobs_of_events
-- Returns the jobs of events that a replica of version 1 took. They were made with their event's
-- key, so their ids, which begin with the time, lie between $3 and $4.
SELECT event_id, job_id
FROM jobs.jobs
WHERE tenant = $1 AND job_id BETWEEN $3 AND $4 AND event_id = ANY ($2::uuid[])
UNION ALL
SELECT event_id, job_id
FROM jobs.history
WHERE tenant = $1 AND job_id BETWEEN $3 AND $4 AND event_id = ANY ($2::uuid[])

-- name: claim_keys
-- Takes idempotency keys that are free. Fewer rows than keys: somebody else was quicker.
INSERT INTO jobs.event_keys AS taken (tenant, key, event_id, content_hash, job_ids)
SELECT $1, wanted.key, wanted.event_id, wanted.content_hash, wanted.job_ids::uuid[]
FROM unnest($2::text[], $3::uuid[], $4::bytea[], $5::text[])
    AS wanted (key, event_id, content_hash, job_ids)
-- In one order, so that two calls with the same keys wait for each other instead of deadlocking.
ORDER BY wanted.key
ON CONFLICT (tenant, key) DO UPDATE
SET event_id = excluded.event_id,
    content_hash = excluded.content_hash,
    job_ids = excluded.job_ids,
    create_time = now()
WHERE taken.create_time <= now() - interval '30 days'

-- name: find_job_keys
-- Returns the jobs of functions that run once for a value; those older than 30 days are forgotten.
SELECT wanted.function, wanted.key, known.job_id
FROM unnest($2::text[], $3::text[]) AS wanted (function, key)
CROSS JOIN LATERAL (
    SELECT k.job_id
    FROM jobs.job_keys AS k
    WHERE k.tenant = $1
        AND k.function = wanted.function
        AND k.key = wanted.key
        AND k.create_time > now() - interval '30 days'
    -- There is one at most; as a join, all of the tenant's were read.
    LIMIT 1
) AS known

-- name: claim_job_keys
-- Writes down which job a function runs for a value. Fewer rows: somebody else was quicker.
INSERT INTO jobs.job_keys AS taken (tenant, function, key, job_id)
SELECT $1, wanted.function, wanted.key, wanted.job_id
FROM unnest($2::text[], $3::text[], $4::uuid[]) AS wanted (function, key, job_id)
ORDER BY wanted.function, wanted.key
ON CONFLICT (tenant, function, key) DO UPDATE
SET job_id = excluded.job_id, create_time = now()
WHERE taken.create_time <= now() - interval '30 days'

-- name: lock_debounces
-- Returns which jobs events are folded into, and how long ago the first event of each came.
SELECT
    wanted.function, wanted.key, known.job_id,
    greatest(extract(epoch FROM now() - known.first_time), 0)::float8 AS waited
FROM (
    -- In one order, so that two calls with the same keys wait for each other.
    SELECT * FROM unnest($2::text[], $3::text[]) AS w (function, key) ORDER BY function, key
) AS wanted
CROSS JOIN LATERAL (
    SELECT d.job_id, d.first_time
    FROM jobs.debounces AS d
    WHERE d.tenant = $1 AND d.function = wanted.function AND d.key = wanted.key
    FOR UPDATE
) AS known

-- name: lock_pending
-- Of jobs that events would be folded into, returns those that still wait for their first attempt. One
-- that is just being made ready, or cancelled, no longer does: to wait for that could end in a deadlock.
SELECT waiting.job_id
FROM unnest($1::uuid[]) AS wanted (job_id)
CROSS JOIN LATERAL (
    SELECT d.job_id FROM jobs.delayed AS d WHERE d.job_id = wanted.job_id FOR UPDATE SKIP LOCKED
) AS waiting
CROSS JOIN LATERAL (
    SELECT j.job_id
    FROM jobs.jobs AS j
    WHERE j.job_id = waiting.job_id AND j.state = 'queued'
    FOR UPDATE SKIP LOCKED
) AS job

-- name: claim_debounces
-- Writes down which jobs further events are folded into, in place of the jobs in $5, which wait no
-- longer. Fewer rows: somebody else was quicker.
INSERT INTO jobs.debounces AS known (tenant, function, key, job_id)
SELECT $1, wanted.function, wanted.key, wanted.job_id
FROM unnest($2::text[], $3::text[], $4::uuid[]) AS wanted (function, key, job_id)
ORDER BY wanted.function, wanted.key
ON CONFLICT (tenant, function, key) DO UPDATE
SET job_id = excluded.job_id, first_time = now()
WHERE known.job_id = ANY ($5::uuid[])

-- name: lock_queues
-- Lets one transaction after the other add to queues that have a bound, until it commits. Not the
-- functions' rows: those declared for all tenants are not a tenant's to lock.
SELECT pg_advisory_xact_lock(number)
FROM (
    SELECT DISTINCT hashtextextended('jobs.queue/' || $1 || '/' || function, 0) AS number
    FROM unnest($2::text[]) AS wanted (function)
    ORDER BY number
) AS locks

-- name: measure_queues
-- Returns how full queues are: jobs that are ready, their bytes, and how long the oldest has waited.
SELECT wanted.function, found.depth, found.bytes, found.oldest
FROM unnest($2::text[]) AS wanted (function)
CROSS JOIN LATERAL (
    SELECT
        count(*) AS depth,
        coalesce(sum(bytes), 0)::bigint AS bytes,
        coalesce(greatest(extract(epoch FROM now() - min(ready_time)), 0), 0)::float8 AS oldest
    FROM jobs.ready
    WHERE ready.function = wanted.function AND ready.tenant = $1
) AS found

-- name: insert_jobs
-- Stores jobs, ready or delayed, and returns this transaction's number and for which of the events
-- in $21 some step waits.
WITH incoming AS (
    SELECT *
    FROM unnest(
        $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::int[], $8::text[],
        $9::int[], $10::float8[], $11::int[], $12::float8[], $13::float8[], $14::float8[],
        $15::text[], $16::text[], $17::text[], $18::uuid[], $19::text[], $20::text[]
    ) AS j (
        job_id, function, event_id, event_name, data, bytes, key,
        priority, delay, max_attempts, initial_backoff, max_backoff, start_timeout,
        request_id, traceparent, schedule, parent_job_id, parent_key, lineage
    )
),
stored AS (
    INSERT INTO jobs.jobs (
        job_id, tenant, function, event_id, event_name, data, bytes, key, priority, max_attempts,
        initial_backoff, max_backoff, start_before, request_id, traceparent, schedule,
        parent_job_id, parent_key, lineage, ready_time
    )
    SELECT
        job_id, $1, function, event_id, event_name, data::json, bytes, key, priority, max_attempts,
        make_interval(secs => initial_backoff), make_interval(secs => max_backoff),
        make_interval(secs => start_timeout), request_id, traceparent, schedule,
        parent_job_id, parent_key, coalesce(lineage::text[], '{}'),
        now() + make_interval(secs => delay)
    FROM incoming
),
ready AS (
    INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes)
    SELECT job_id, function, $1, key, '', jobs.rank(now(), priority), bytes
    FROM incoming
    WHERE delay <= 0
),
delayed AS (
    INSERT INTO jobs.delayed (job_id, function, tenant, priority, ready_time)
    SELECT job_id, function, $1, priority, now() + make_interval(secs => delay)
    FROM incoming
    WHERE delay > 0
)
SELECT
    pg_current_xact_id()::text AS transaction,
    ARRAY(
        SELECT asked.name
        FROM unnest($21::text[]) AS asked (name)
        CROSS JOIN LATERAL (
            SELECT 1
            FROM jobs.waits AS w
            WHERE w.tenant = $1 AND w.subject = asked.name AND w.kind = 'event'
            -- Not EXISTS, for which all waits might be read.
            LIMIT 1
        ) AS waiting
    ) AS waited_for

-- name: fold_jobs
-- Gives delayed jobs the payload of a later event, and their time anew.
WITH changed AS (
    UPDATE jobs.jobs AS job
    SET event_id = i.event_id,
        event_name = i.event_name,
        data = i.data::json,
        bytes = i.bytes,
        key = i.key,
        priority = i.priority,
        request_id = i.request_id,
        traceparent = i.traceparent,
        revision = job.revision + 1,
        ready_time = now() + make_interval(secs => i.delay)
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::text[], $7::int[],
        $8::float8[], $9::text[], $10::text[]
    ) AS i (
        job_id, event_id, event_name, data, bytes, key, priority, delay, request_id, traceparent
    )
    WHERE job.job_id = i.job_id AND job.job_id = ANY ($1::uuid[])
)
UPDATE jobs.delayed AS waiting
SET priority = i.priority, ready_time = now() + make_interval(secs => i.delay)
FROM unnest($1::uuid[], $7::int[], $8::float8[]) AS i (job_id, priority, delay)
WHERE waiting.job_id = i.job_id AND waiting.job_id = ANY ($1::uuid[])

-- name: shed_oldest
-- Makes room in the queue of the function in $2: of the jobs that wait for their first attempt, those
-- that have waited longest become dead letters, until $3 jobs and $4 bytes are gone, and all that
-- have waited longer than $5 seconds, if it is set. Those that a claim is just taking leave anyway.
WITH line AS (
    SELECT
        r.job_id, r.ready_time,
        row_number() OVER oldest AS place,
        sum(r.bytes) OVER oldest - r.bytes AS bytes_before
    FROM jobs.ready AS r
    CROSS JOIN LATERAL (
        SELECT 1 FROM jobs.jobs AS j WHERE j.job_id = r.job_id AND j.state = 'queued' LIMIT 1
    ) AS untried
    WHERE r.function = $2 AND r.tenant = $1
    WINDOW oldest AS (ORDER BY r.ready_time, r.job_id ROWS UNBOUNDED PRECEDING)
),
locked AS MATERIALIZED (
    SELECT r.job_id
    FROM jobs.ready AS r
    CROSS JOIN LATERAL (
        SELECT j.job_id FROM jobs.jobs AS j WHERE j.job_id = r.job_id FOR UPDATE SKIP LOCKED
    ) AS job
    WHERE r.job_id = ANY (ARRAY(
        SELECT job_id
        FROM line
        WHERE place <= $3
            OR bytes_before < $4
            OR ready_time < now() - make_interval(secs => $5::float8)
    ))
    ORDER BY r.job_id
    FOR UPDATE OF r SKIP LOCKED
),
taken AS (
    DELETE FROM jobs.ready WHERE job_id = ANY (ARRAY(SELECT job_id FROM locked))
),
ended AS (
    UPDATE jobs.jobs AS j
    SET state = 'dead_lettered',
        revision = j.revision + 1,
        failure_kind = 'Shed',
        failure_message = $6,
        failure_permanent = false,
        ready_time = NULL,
        end_time = now()
    WHERE j.job_id = ANY (ARRAY(SELECT job_id FROM locked))
    RETURNING j.job_id, j.request_id, j.traceparent, j.parent_job_id, j.parent_key
),
kept AS (
    INSERT INTO jobs.dead_letters (job_id, tenant, function, failure_kind)
    SELECT job_id, $1, $2, 'Shed' FROM ended ORDER BY job_id
)
SELECT job_id, request_id, traceparent, parent_job_id, parent_key FROM ended ORDER BY job_id

-- name: match_waits
-- Returns the steps that wait for one of these events, each with the first that it fits.
SELECT DISTINCT ON (w.job_id, w.key) w.job_id, w.key, e.position
FROM (
    -- Parsed once, not for each of those that wait.
    SELECT name, data::jsonb AS data, position
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS e (name, data, position)
    OFFSET 0
) AS e
CROSS JOIN LATERAL (
    SELECT waiting.job_id, waiting.key
    FROM jobs.waits AS waiting
    WHERE waiting.tenant = $1
        AND waiting.subject = e.name
        AND waiting.kind = 'event'
        AND (
            waiting.match IS NULL
            OR e.data @> waiting.match AND jobs.fits(e.data, waiting.match)
        )
    -- As a join, all of the tenant's were read.
    OFFSET 0
) AS w
ORDER BY w.job_id, w.key, e.position

-- name: transaction_status
-- Returns what became of a transaction whose commit was not answered.
SELECT pg_xact_status($1::text::xid8)
