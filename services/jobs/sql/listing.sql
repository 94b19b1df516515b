-- Lists of jobs, the newest first, in windows of so many rows: what is looked at for one answer is
-- bounded, however few jobs fit. The tenant is $1; ids are below $2 and above $3. Pairs are compared
-- and ordered, which only the index that begins with the tenant can serve: asked for one tenant in
-- order of ids, a plan may walk over the jobs of all others.

-- name: list_jobs
-- Returns up to $12 jobs that fit among the $11 next ones; $4 and $5 say which of the two tables
-- matter. Both subqueries are in order already and are merged.
SELECT j.*
FROM (
    (
        SELECT
            job_id, tenant, function, event_id, event_name, state, revision,
            attempt, max_attempts, crash_count, priority, version, parent_job_id, schedule,
            progress_fraction, progress_message,
            failure_kind, failure_message, failure_permanent,
            cancel_time, cancel_reason, cancel_rollback, rollback_outcome, rollback_attempt,
            rollback_failure_kind, rollback_failure_message,
            request_id, worker, create_time, start_time, ready_time, end_time
        FROM jobs.jobs
        WHERE (tenant, job_id) < ($1, $2::uuid) AND (tenant, job_id) > ($1, $3::uuid) AND $4::boolean
        ORDER BY tenant DESC, job_id DESC
        LIMIT $11
    )
    UNION ALL
    (
        SELECT
            job_id, tenant, function, event_id, event_name, state, revision,
            attempt, max_attempts, crash_count, priority, version, parent_job_id, schedule,
            progress_fraction, progress_message,
            failure_kind, failure_message, failure_permanent,
            cancel_time, cancel_reason, cancel_rollback, rollback_outcome, rollback_attempt,
            rollback_failure_kind, rollback_failure_message,
            request_id, NULL, create_time, start_time, NULL, end_time
        FROM jobs.history
        WHERE (tenant, job_id) < ($1, $2::uuid) AND (tenant, job_id) > ($1, $3::uuid) AND $5::boolean
        ORDER BY tenant DESC, job_id DESC
        LIMIT $11
    )
    ORDER BY tenant DESC, job_id DESC
    LIMIT $11
) AS j
WHERE ($6::text[] IS NULL OR state = ANY ($6))
    AND ($7::text IS NULL OR function = $7)
    AND ($8::uuid IS NULL OR event_id = $8)
    AND ($9::text IS NULL OR request_id = $9)
    AND ($10::text IS NULL OR failure_kind = $10)
    AND ($13::timestamptz IS NULL OR create_time >= $13)
    AND ($14::timestamptz IS NULL OR create_time < $14)
ORDER BY tenant DESC, job_id DESC
LIMIT $12

-- name: last_listed
-- Returns the last of the $6 next jobs that `list_jobs` looks at; no row when they are fewer.
SELECT job_id
FROM (
    (
        SELECT tenant, job_id
        FROM jobs.jobs
        WHERE (tenant, job_id) < ($1, $2::uuid) AND (tenant, job_id) > ($1, $3::uuid) AND $4::boolean
        ORDER BY tenant DESC, job_id DESC
        LIMIT $6
    )
    UNION ALL
    (
        SELECT tenant, job_id
        FROM jobs.history
        WHERE (tenant, job_id) < ($1, $2::uuid) AND (tenant, job_id) > ($1, $3::uuid) AND $5::boolean
        ORDER BY tenant DESC, job_id DESC
        LIMIT $6
    )
) AS j
ORDER BY tenant DESC, job_id DESC
OFFSET $6 - 1
LIMIT 1

-- name: list_dead_letters
-- Returns up to $10 dead letters that fit among the $9 next ones.
SELECT
    j.job_id, j.tenant, j.function, j.event_id, j.event_name, j.state, j.revision,
    j.attempt, j.max_attempts, j.crash_count, j.priority, j.version, j.parent_job_id, j.schedule,
    j.progress_fraction, j.progress_message,
    j.failure_kind, j.failure_message, j.failure_permanent,
    j.cancel_time, j.cancel_reason, j.cancel_rollback, j.rollback_outcome, j.rollback_attempt,
    j.rollback_failure_kind, j.rollback_failure_message,
    j.request_id, j.worker, j.create_time, j.start_time, j.ready_time, j.end_time
FROM (
    SELECT tenant, job_id, function, failure_kind
    FROM jobs.dead_letters
    WHERE (tenant, job_id) < ($1, $2::uuid) AND (tenant, job_id) > ($1, $3::uuid)
    ORDER BY tenant DESC, job_id DESC
    LIMIT $9
) AS d
CROSS JOIN LATERAL (
    SELECT * FROM jobs.jobs WHERE jobs.job_id = d.job_id LIMIT 1
) AS j
WHERE ($4::text IS NULL OR d.function = $4)
    AND ($7::text IS NULL OR d.failure_kind = $7)
    AND ($5::uuid IS NULL OR j.event_id = $5)
    AND ($6::text IS NULL OR j.request_id = $6)
    AND ($8::timestamptz IS NULL OR j.create_time >= $8)
    AND ($11::timestamptz IS NULL OR j.create_time < $11)
ORDER BY d.tenant DESC, d.job_id DESC
LIMIT $10

-- name: last_listed_dead_letter
-- Returns the last of the $4 next dead letters; no row when they are fewer.
SELECT job_id
FROM jobs.dead_letters
WHERE (tenant, job_id) < ($1, $2::uuid) AND (tenant, job_id) > ($1, $3::uuid)
ORDER BY tenant DESC, job_id DESC
OFFSET $4 - 1
LIMIT 1
