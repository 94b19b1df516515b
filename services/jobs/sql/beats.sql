-- What workers have, as compared at a heartbeat.

-- name: held_jobs
-- Returns what a session has; `settled` is what it has had for longer than $2. A reason is there
-- when the job is to end; undoing goes on all the same. `hang_timeout` is in seconds.
SELECT
    l.job_id, l.epoch, l.create_time < now() - $2::interval AS settled,
    extract(epoch FROM l.hang_timeout)::float8 AS hang_timeout,
    CASE WHEN NOT l.rollback THEN j.cancel_reason END AS cancel_reason
FROM jobs.leases AS l
CROSS JOIN LATERAL (
    SELECT cancel_reason FROM jobs.jobs WHERE jobs.job_id = l.job_id LIMIT 1
) AS j
WHERE l.session_id = $1
