-- What happens by the clock: waits that are due, turns that take too long, jobs that nobody starts.
-- Rows that another replica deals with are passed over.

-- name: look
-- Returns in how many seconds the next of each kind is due; null for never.
SELECT
    (SELECT extract(epoch FROM min(lease_expire_time) - clock_timestamp()) FROM jobs.sessions)::float8
        AS sessions,
    -- Each condition is true of all that count, but it names the index.
    (
        SELECT extract(epoch FROM due_time - clock_timestamp()) FROM jobs.waits
        WHERE due_time > '-infinity' ORDER BY due_time LIMIT 1
    )::float8 AS waits,
    (
        SELECT extract(epoch FROM expire_time - clock_timestamp()) FROM jobs.leases
        WHERE expire_time > '-infinity' ORDER BY expire_time LIMIT 1
    )::float8 AS turns,
    (
        SELECT extract(epoch FROM start_by - clock_timestamp()) FROM jobs.jobs
        WHERE start_by > '-infinity' ORDER BY start_by LIMIT 1
    )::float8 AS starts

-- name: lock_due_waits
-- Returns up to $1 waits that are due and locks their jobs.
SELECT due.job_id, due.key
FROM (
    SELECT job_id, key FROM jobs.waits WHERE due_time <= now() ORDER BY due_time LIMIT $1
) AS due
CROSS JOIN LATERAL (
    SELECT FROM jobs.jobs AS j WHERE j.job_id = due.job_id FOR UPDATE SKIP LOCKED
) AS locked

-- name: lock_expired
-- Locks up to $1 jobs whose turn seems to have taken too long.
SELECT due.job_id
FROM (
    SELECT job_id FROM jobs.leases WHERE expire_time <= now() ORDER BY expire_time LIMIT $1
) AS due
CROSS JOIN LATERAL (
    SELECT FROM jobs.jobs AS j WHERE j.job_id = due.job_id FOR UPDATE SKIP LOCKED
) AS locked

-- name: expired_leases
-- Returns the turns at locked jobs that have taken too long: one that was seen before the lock may
-- have ended, and another begun. `lasted` is in seconds.
SELECT session_id, job_id, extract(epoch FROM now() - create_time)::float8 AS lasted
FROM jobs.leases
WHERE job_id = ANY ($1::uuid[]) AND expire_time <= now()

-- name: find_unstarted
-- Returns up to $1 jobs whose first attempt should have begun.
SELECT job_id FROM jobs.jobs WHERE start_by <= now() ORDER BY start_by LIMIT $1

-- name: lock_unstarted_delayed
-- Locks those of the jobs that still wait for their time.
SELECT job_id FROM jobs.delayed WHERE job_id = ANY ($1::uuid[]) FOR UPDATE SKIP LOCKED

-- name: lock_unstarted_ready
-- Locks those of the jobs that nobody takes just now.
SELECT job_id FROM jobs.ready WHERE job_id = ANY ($1::uuid[]) FOR UPDATE SKIP LOCKED

-- name: bury_unstarted
-- Makes dead letters of jobs whose first attempt should have begun. $2 says why, for people.
WITH buried AS (
    UPDATE jobs.jobs
    SET state = 'dead_lettered',
        revision = revision + 1,
        ready_time = NULL,
        end_time = now(),
        failure_kind = 'NotStarted',
        failure_message = $2,
        failure_permanent = false
    WHERE job_id = ANY ($1::uuid[]) AND state = 'queued' AND start_by <= now()
    RETURNING job_id, tenant, function, request_id, traceparent, parent_job_id, parent_key
),
unqueued AS (
    DELETE FROM jobs.ready
    WHERE job_id = ANY ($1::uuid[]) AND job_id IN (SELECT job_id FROM buried)
),
undelayed AS (
    DELETE FROM jobs.delayed
    WHERE job_id = ANY ($1::uuid[]) AND job_id IN (SELECT job_id FROM buried)
),
undebounced AS (
    DELETE FROM jobs.debounces
    WHERE job_id = ANY ($1::uuid[]) AND job_id IN (SELECT job_id FROM buried)
),
kept AS (
    INSERT INTO jobs.dead_letters (job_id, tenant, function, failure_kind)
    SELECT job_id, tenant, function, 'NotStarted' FROM buried ORDER BY job_id
)
SELECT job_id, tenant, function, request_id, traceparent, parent_job_id, parent_key FROM buried

-- name: find_directives
-- Returns those of the jobs in $2 that are to end and are in the hands of sessions in $1.
SELECT l.session_id, l.job_id, l.epoch, j.cancel_reason
FROM jobs.leases AS l
CROSS JOIN LATERAL (
    SELECT cancel_time, cancel_reason FROM jobs.jobs WHERE jobs.job_id = l.job_id LIMIT 1
) AS j
WHERE l.job_id = ANY ($2::uuid[])
    AND l.session_id = ANY ($1::uuid[])
    AND j.cancel_time IS NOT NULL
    AND NOT l.rollback

-- name: find_all_directives
-- Returns all jobs that are to end and are in the hands of sessions.
SELECT l.session_id, l.job_id, l.epoch, j.cancel_reason
FROM jobs.leases AS l
CROSS JOIN LATERAL (
    SELECT cancel_time, cancel_reason FROM jobs.jobs WHERE jobs.job_id = l.job_id LIMIT 1
) AS j
WHERE l.session_id = ANY ($1::uuid[]) AND j.cancel_time IS NOT NULL AND NOT l.rollback
