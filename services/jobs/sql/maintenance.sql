-- What keeps the tables small, for all tenants.

-- name: ensure_partitions
-- Makes the partitions of the days to come; returns how many were missing.
SELECT jobs.ensure_partitions($1)

-- name: drop_history
-- Drops the days of the history that are older than $1 days; returns how many.
SELECT jobs.cleanup_job_queue($1)

-- name: delete_event_keys
-- Deletes up to $2 idempotency keys older than $1; returns how many.
WITH deleted AS (
    DELETE FROM jobs.event_keys
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM jobs.event_keys
        WHERE create_time < now() - $1::interval
        ORDER BY create_time
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
)
SELECT count(*) FROM deleted

-- name: delete_job_keys
-- Deletes up to $2 keys of functions that run once for a value, older than $1; returns how many.
WITH deleted AS (
    DELETE FROM jobs.job_keys
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM jobs.job_keys
        WHERE create_time < now() - $1::interval
        ORDER BY create_time
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
)
SELECT count(*) FROM deleted

-- name: old_dead_letters
-- Returns up to $2 dead letters older than $1, oldest first, by tenant.
SELECT tenant, job_id
FROM jobs.dead_letters
WHERE end_time < now() - $1::interval
ORDER BY end_time
LIMIT $2
