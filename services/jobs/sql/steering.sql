-- Jobs that somebody steers: cancelled, retried, signalled, put away. The tenant is $1 where rows of
-- one tenant are meant. Locks are taken in one order by everybody: delayed, ready, jobs, leases, and
-- by id within each. Whoever has the lock of a job may count on what is said of it elsewhere.

-- name: find_family
-- Returns a job and all that it and its descendants have invoked, without those of the history.
WITH RECURSIVE family AS (
    SELECT j.job_id, j.parent_job_id
    FROM jobs.jobs AS j
    WHERE j.tenant = $1 AND j.job_id = $2
    UNION
    SELECT child.job_id, child.parent_job_id
    FROM family
    CROSS JOIN LATERAL (
        SELECT c.job_id, c.parent_job_id FROM jobs.jobs AS c WHERE c.parent_job_id = family.job_id
        -- Looked up for each; otherwise it is planned as a join with all jobs.
        OFFSET 0
    ) AS child
)
SELECT job_id, parent_job_id FROM family

-- name: lock_delayed
-- Locks jobs that wait for their time.
SELECT job_id FROM jobs.delayed WHERE job_id = ANY ($1::uuid[]) ORDER BY job_id FOR UPDATE

-- name: lock_ready_jobs
-- Locks jobs that are ready.
SELECT job_id FROM jobs.ready WHERE job_id = ANY ($1::uuid[]) ORDER BY job_id FOR UPDATE

-- name: lock_records
-- Locks the records of jobs and returns what decides on them.
SELECT job_id, state
FROM jobs.jobs
WHERE job_id = ANY ($1::uuid[])
ORDER BY job_id
FOR UPDATE

-- name: find_places
-- Returns where jobs are, once they are locked.
SELECT job_id, 'delayed' AS place FROM jobs.delayed WHERE job_id = ANY ($1::uuid[])
UNION ALL
SELECT job_id, 'ready' FROM jobs.ready WHERE job_id = ANY ($1::uuid[])
UNION ALL
SELECT job_id, 'held' FROM jobs.leases WHERE job_id = ANY ($1::uuid[])

-- name: archive_parked
-- Moves jobs that no worker has into the history, as $2, with their steps. $3 and $4 are reason and
-- rollback of a cancellation, null for none. Returns those that another job waits for.
WITH unqueued AS (
    DELETE FROM jobs.ready WHERE job_id = ANY ($1::uuid[])
),
undelayed AS (
    DELETE FROM jobs.delayed WHERE job_id = ANY ($1::uuid[])
),
unburied AS (
    DELETE FROM jobs.dead_letters WHERE job_id = ANY ($1::uuid[])
),
unwaited AS (
    DELETE FROM jobs.waits WHERE job_id = ANY ($1::uuid[])
),
unheard AS (
    DELETE FROM jobs.signals WHERE job_id = ANY ($1::uuid[])
),
stepped AS (
    DELETE FROM jobs.steps
    WHERE job_id = ANY ($1::uuid[])
    RETURNING job_id, number, key, kind, result, attempt, end_time, compensation, compensate_time
),
folded AS (
    SELECT
        job_id,
        json_agg(
            json_build_object(
                'key', key, 'kind', kind, 'result', result, 'attempt', attempt,
                'end_time', end_time, 'compensation', compensation,
                'compensate_time', compensate_time
            ) ORDER BY number
        ) AS steps
    FROM stepped
    GROUP BY job_id
),
gone AS (
    DELETE FROM jobs.jobs
    WHERE job_id = ANY ($1::uuid[])
    RETURNING
        job_id, tenant, function, event_id, event_name, data, state, revision, attempt,
        max_attempts, crash_count, priority, key, version, epoch, parent_job_id, parent_key,
        schedule, progress_fraction, progress_message, progress_partial,
        failure_kind, failure_message, failure_permanent,
        cancel_time, cancel_reason, cancel_rollback, rollback_outcome, rollback_attempt,
        rollback_failure_kind, rollback_failure_message,
        request_id, traceparent, closed_session, closed_sequence, create_time, start_time
),
undebounced AS (
    DELETE FROM jobs.debounces WHERE job_id = ANY ($1::uuid[])
),
archived AS (
    INSERT INTO jobs.history (
        job_id, tenant, function, event_id, event_name, data, left_state, state, revision,
        attempt, max_attempts, crash_count, priority, key, version, epoch, parent_job_id,
        schedule, progress_fraction, progress_message, progress_partial,
        failure_kind, failure_message, failure_permanent,
        cancel_time, cancel_reason, cancel_rollback,
        rollback_outcome, rollback_attempt, rollback_failure_kind, rollback_failure_message,
        request_id, traceparent, closed_session, closed_sequence, steps, create_time, start_time
    )
    SELECT
        g.job_id, g.tenant, function, event_id, event_name, data, g.state, $2, revision + 1,
        attempt, max_attempts, crash_count, priority, key, version, epoch, parent_job_id,
        schedule, progress_fraction, progress_message, progress_partial,
        failure_kind, failure_message, failure_permanent,
        coalesce(cancel_time, CASE WHEN $3::text IS NOT NULL THEN now() END),
        coalesce(cancel_reason, $3::text),
        coalesce(cancel_rollback, $4::boolean),
        rollback_outcome, rollback_attempt, rollback_failure_kind, rollback_failure_message,
        request_id, traceparent, closed_session, closed_sequence, folded.steps,
        create_time, start_time
    FROM gone AS g
    LEFT JOIN folded ON folded.job_id = g.job_id
    ORDER BY g.job_id
)
SELECT job_id, parent_job_id, parent_key, failure_kind, failure_message FROM gone

-- name: mark_cancelled
-- Notes of jobs that they are to end, which they will do later; a job that is being undone will end
-- as cancelled. $2 is the reason, $3 whether to undo, $4 after what interval a worker loses it. What
-- was asked for before stays, but undoing may be added. Returns those whose workers have to hear of it.
WITH marked AS (
    UPDATE jobs.jobs AS j
    SET revision = j.revision + 1,
        cancel_time = coalesce(j.cancel_time, now()),
        cancel_reason = coalesce(j.cancel_reason, $2),
        cancel_rollback = coalesce(j.cancel_rollback, false) OR $3,
        rollback_outcome = CASE
            WHEN j.state = 'rolling_back' THEN 'cancelled' ELSE j.rollback_outcome
        END
    WHERE j.job_id = ANY ($1::uuid[])
        AND (j.cancel_time IS NULL OR $3 AND NOT j.cancel_rollback)
    RETURNING j.job_id
)
UPDATE jobs.leases AS l
SET expire_time = least(l.expire_time, now() + $4::interval)
FROM marked
WHERE l.job_id = marked.job_id AND l.job_id = ANY ($1::uuid[]) AND NOT l.rollback
RETURNING l.job_id

-- name: undo_parked
-- Lets jobs that no worker has undo their steps and then end as cancelled. $2 is the reason.
WITH unqueued AS (
    DELETE FROM jobs.ready WHERE job_id = ANY ($1::uuid[])
),
undelayed AS (
    DELETE FROM jobs.delayed WHERE job_id = ANY ($1::uuid[])
),
unwaited AS (
    DELETE FROM jobs.waits WHERE job_id = ANY ($1::uuid[])
)
UPDATE jobs.jobs
SET state = 'rolling_back',
    revision = revision + 1,
    ready_time = now(),
    rollback_outcome = 'cancelled',
    rollback_attempt = 0,
    cancel_time = coalesce(cancel_time, now()),
    cancel_reason = coalesce(cancel_reason, $2),
    cancel_rollback = true
WHERE job_id = ANY ($1::uuid[])

-- name: queue_jobs
-- Makes jobs ready to be undone whose records say so.
INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
SELECT
    job_id, function, tenant, key, pin, jobs.rank_begun(ready_time, priority), bytes, ready_time
FROM jobs.jobs
WHERE job_id = ANY ($1::uuid[])
ORDER BY job_id

-- name: lock_dead_letters
-- Locks dead letters by their ids.
SELECT job_id
FROM jobs.dead_letters
WHERE tenant = $1 AND job_id = ANY ($2::uuid[])
ORDER BY job_id
FOR UPDATE

-- name: lock_fitting_dead_letters
-- Locks the $2 oldest dead letters that fit; those that somebody else deals with are left to them.
SELECT d.job_id
FROM jobs.dead_letters AS d
CROSS JOIN LATERAL (
    SELECT * FROM jobs.jobs WHERE jobs.job_id = d.job_id LIMIT 1
) AS j
-- Pairs, which only the index that begins with the tenant can serve.
WHERE (d.tenant, d.job_id) >= ($1, '00000000-0000-0000-0000-000000000000'::uuid)
    AND (d.tenant, d.job_id) <= ($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
    AND ($3::text IS NULL OR d.function = $3)
    AND ($4::uuid IS NULL OR j.event_id = $4)
    AND ($5::text IS NULL OR j.request_id = $5)
    AND ($6::text IS NULL OR d.failure_kind = $6)
    AND ($7::timestamptz IS NULL OR j.create_time >= $7)
    AND ($8::timestamptz IS NULL OR j.create_time < $8)
ORDER BY d.tenant, d.job_id
LIMIT $2
FOR UPDATE OF d SKIP LOCKED

-- name: revive_dead_letters
-- Lets dead letters go on: with as many attempts as their function declares, or with undoing where
-- that got stuck, which is where steps are left to undo. Where all have been undone, all steps are
-- run again.
WITH undoing AS MATERIALIZED (
    SELECT w.job_id, w.rollback_outcome IS NOT NULL AND left_over.some IS NOT NULL AS stuck
    FROM jobs.jobs AS w
    LEFT JOIN LATERAL (
        SELECT true AS some FROM jobs.steps AS s
        WHERE s.job_id = w.job_id AND s.compensation = 1
        LIMIT 1
    ) AS left_over ON true
    WHERE w.job_id = ANY ($1::uuid[])
),
unburied AS (
    DELETE FROM jobs.dead_letters WHERE job_id = ANY ($1::uuid[])
),
undone AS MATERIALIZED (
    SELECT DISTINCT s.job_id
    FROM jobs.steps AS s
    JOIN undoing AS u ON u.job_id = s.job_id AND NOT u.stuck
    WHERE s.job_id = ANY ($1::uuid[]) AND s.compensation = 2
),
forgotten AS (
    DELETE FROM jobs.steps
    WHERE job_id = ANY ($1::uuid[]) AND job_id IN (SELECT job_id FROM undone)
),
unwaited AS (
    DELETE FROM jobs.waits
    WHERE job_id = ANY ($1::uuid[]) AND job_id IN (SELECT job_id FROM undone)
),
revived AS (
    UPDATE jobs.jobs AS j
    SET state = CASE WHEN u.stuck THEN 'rolling_back' ELSE 'retrying' END,
        revision = j.revision + 1,
        ready_time = now(),
        end_time = NULL,
        -- Workers that were lost count anew.
        attempt = greatest(j.attempt - j.crash_count, 0),
        crash_count = 0,
        max_attempts = CASE
            WHEN u.stuck THEN j.max_attempts
            ELSE greatest(j.attempt - j.crash_count, 0) + coalesce(
                (
                    SELECT f.max_attempts
                    FROM jobs.functions AS f
                    WHERE f.tenant IN (j.tenant, '*') AND f.name = j.function
                    ORDER BY f.tenant = '*'
                    LIMIT 1
                ),
                j.max_attempts
            )
        END,
        rollback_outcome = CASE WHEN u.stuck THEN j.rollback_outcome END,
        rollback_attempt = 0,
        rollback_failure_kind = NULL,
        rollback_failure_message = NULL,
        cancel_time = CASE WHEN u.stuck THEN j.cancel_time END,
        cancel_reason = CASE WHEN u.stuck THEN j.cancel_reason END,
        cancel_rollback = CASE WHEN u.stuck THEN j.cancel_rollback END
    FROM undoing AS u
    WHERE j.job_id = u.job_id AND j.job_id = ANY ($1::uuid[])
    RETURNING j.job_id, j.function, j.tenant, j.key, j.pin, j.priority, j.bytes, j.ready_time
)
INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
SELECT job_id, function, tenant, key, pin, jobs.rank(ready_time, priority), bytes, ready_time
FROM revived
ORDER BY job_id

-- name: lock_job
-- Locks a job of a tenant and returns where it stands.
SELECT state FROM jobs.jobs WHERE tenant = $1 AND job_id = $2 FOR UPDATE

-- name: find_signal_wait
-- Returns the step of a job that has waited longest for a signal.
SELECT key
FROM jobs.waits
WHERE job_id = $1 AND kind = 'signal' AND subject = $2
ORDER BY create_time, key
LIMIT 1

-- name: count_signals
-- Counts the signals that wait for a step of a job.
SELECT count(*) FROM jobs.signals WHERE job_id = $1

-- name: insert_signal
-- Keeps a signal until a step waits for it.
INSERT INTO jobs.signals (job_id, tenant, name, data) VALUES ($1, $2, $3, $4::json)
