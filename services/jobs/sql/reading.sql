-- Jobs as they are read. The tenant is $1 where rows of one tenant are meant. Columns are named one
-- by one: with a star, the connections of a running service fail once each when a migration adds one.

-- name: find_job
-- Returns a job that is not over, or a dead letter, with its steps in order of completion.
SELECT
    j.job_id, j.tenant, j.function, j.event_id, j.event_name, j.data, j.state, j.revision,
    j.attempt, j.max_attempts, j.crash_count, j.priority, j.version, j.parent_job_id, j.schedule,
    j.progress_fraction, j.progress_message, j.progress_partial, j.result,
    j.failure_kind, j.failure_message, j.failure_permanent,
    j.cancel_time, j.cancel_reason, j.cancel_rollback,
    j.rollback_outcome, j.rollback_attempt, j.rollback_failure_kind, j.rollback_failure_message,
    j.request_id, j.worker, j.create_time, j.start_time, j.ready_time, j.end_time,
    s.keys, s.kinds, s.results, s.attempts, s.end_times, s.compensations, s.compensate_times,
    w.wait_keys, w.wait_kinds, w.wait_subjects, w.wait_due_times
FROM jobs.jobs AS j
CROSS JOIN LATERAL (
    SELECT
        array_agg(key ORDER BY number) AS keys,
        array_agg(kind ORDER BY number) AS kinds,
        array_agg(result::text ORDER BY number) AS results,
        array_agg(attempt ORDER BY number) AS attempts,
        array_agg(end_time ORDER BY number) AS end_times,
        array_agg(compensation ORDER BY number) AS compensations,
        array_agg(compensate_time ORDER BY number) AS compensate_times
    FROM jobs.steps
    WHERE steps.job_id = j.job_id
) AS s
CROSS JOIN LATERAL (
    SELECT
        array_agg(key ORDER BY create_time, key) AS wait_keys,
        array_agg(kind ORDER BY create_time, key) AS wait_kinds,
        array_agg(subject ORDER BY create_time, key) AS wait_subjects,
        array_agg(due_time ORDER BY create_time, key) AS wait_due_times
    FROM jobs.waits
    WHERE waits.job_id = j.job_id
) AS w
WHERE j.tenant = $1 AND j.job_id = $2

-- name: find_job_that_is_over
-- Returns a job of the history, with the columns of `find_job` that such a one has.
SELECT
    h.job_id, h.tenant, h.function, h.event_id, h.event_name, h.data, h.state, h.revision,
    h.attempt, h.max_attempts, h.crash_count, h.priority, h.version, h.parent_job_id, h.schedule,
    h.progress_fraction, h.progress_message, h.progress_partial, h.result,
    h.failure_kind, h.failure_message, h.failure_permanent,
    h.cancel_time, h.cancel_reason, h.cancel_rollback,
    h.rollback_outcome, h.rollback_attempt, h.rollback_failure_kind, h.rollback_failure_message,
    h.request_id, h.create_time, h.start_time, h.end_time,
    s.keys, s.kinds, s.results, s.attempts, s.end_times, s.compensations, s.compensate_times
FROM jobs.history AS h
CROSS JOIN LATERAL (
    SELECT
        array_agg(step ->> 'key' ORDER BY number) AS keys,
        array_agg(step ->> 'kind' ORDER BY number) AS kinds,
        -- `json` keeps a result's text as the worker sent it.
        array_agg((step -> 'result')::text ORDER BY number) AS results,
        array_agg((step ->> 'attempt')::integer ORDER BY number) AS attempts,
        array_agg((step ->> 'end_time')::timestamptz ORDER BY number) AS end_times,
        array_agg((step ->> 'compensation')::smallint ORDER BY number) AS compensations,
        array_agg((step ->> 'compensate_time')::timestamptz ORDER BY number) AS compensate_times
    FROM json_array_elements(h.steps) WITH ORDINALITY AS steps (step, number)
) AS s
WHERE h.tenant = $1 AND h.job_id = $2

-- name: measure_jobs
-- Returns which jobs are not over, or are dead letters, and about how many bytes each takes.
SELECT
    j.job_id, j.tenant,
    1000 + j.bytes + coalesce(octet_length(j.progress_partial::text), 0) + coalesce(
        (
            SELECT sum(100 + octet_length(s.result::text))
            FROM jobs.steps AS s
            WHERE s.job_id = j.job_id
        ),
        0
    ) AS bytes
FROM jobs.jobs AS j
WHERE j.job_id = ANY ($1::uuid[])

-- name: measure_jobs_that_are_over
-- Returns which of the jobs in $2, of the tenants in $1, are over, and about how many bytes each takes.
SELECT h.*
FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant, job_id)
-- Looked up one by one, with the tenant: every partition has an index on both.
CROSS JOIN LATERAL (
    SELECT
        job_id, tenant,
        1000 + coalesce(octet_length(data::text), 0) + coalesce(octet_length(steps::text), 0)
            + coalesce(octet_length(result::text), 0)
            + coalesce(octet_length(progress_partial::text), 0) AS bytes
    FROM jobs.history
    WHERE history.tenant = wanted.tenant AND history.job_id = wanted.job_id
    LIMIT 1
) AS h

-- name: find_jobs
-- Returns what `find_job` does, of several jobs.
SELECT
    j.job_id, j.tenant, j.function, j.event_id, j.event_name, j.data, j.state, j.revision,
    j.attempt, j.max_attempts, j.crash_count, j.priority, j.version, j.parent_job_id, j.schedule,
    j.progress_fraction, j.progress_message, j.progress_partial, j.result,
    j.failure_kind, j.failure_message, j.failure_permanent,
    j.cancel_time, j.cancel_reason, j.cancel_rollback,
    j.rollback_outcome, j.rollback_attempt, j.rollback_failure_kind, j.rollback_failure_message,
    j.request_id, j.worker, j.create_time, j.start_time, j.ready_time, j.end_time,
    s.keys, s.kinds, s.results, s.attempts, s.end_times, s.compensations, s.compensate_times,
    w.wait_keys, w.wait_kinds, w.wait_subjects, w.wait_due_times
FROM jobs.jobs AS j
CROSS JOIN LATERAL (
    SELECT
        array_agg(key ORDER BY number) AS keys,
        array_agg(kind ORDER BY number) AS kinds,
        array_agg(result::text ORDER BY number) AS results,
        array_agg(attempt ORDER BY number) AS attempts,
        array_agg(end_time ORDER BY number) AS end_times,
        array_agg(compensation ORDER BY number) AS compensations,
        array_agg(compensate_time ORDER BY number) AS compensate_times
    FROM jobs.steps
    WHERE steps.job_id = j.job_id
) AS s
CROSS JOIN LATERAL (
    SELECT
        array_agg(key ORDER BY create_time, key) AS wait_keys,
        array_agg(kind ORDER BY create_time, key) AS wait_kinds,
        array_agg(subject ORDER BY create_time, key) AS wait_subjects,
        array_agg(due_time ORDER BY create_time, key) AS wait_due_times
    FROM jobs.waits
    WHERE waits.job_id = j.job_id
) AS w
WHERE j.job_id = ANY ($1::uuid[])

-- name: find_jobs_that_are_over
-- Returns what `find_job_that_is_over` does, of the jobs in $2 of the tenants in $1.
SELECT
    h.job_id, h.tenant, h.function, h.event_id, h.event_name, h.data, h.state, h.revision,
    h.attempt, h.max_attempts, h.crash_count, h.priority, h.version, h.parent_job_id, h.schedule,
    h.progress_fraction, h.progress_message, h.progress_partial, h.result,
    h.failure_kind, h.failure_message, h.failure_permanent,
    h.cancel_time, h.cancel_reason, h.cancel_rollback,
    h.rollback_outcome, h.rollback_attempt, h.rollback_failure_kind, h.rollback_failure_message,
    h.request_id, h.create_time, h.start_time, h.end_time,
    s.keys, s.kinds, s.results, s.attempts, s.end_times, s.compensations, s.compensate_times
FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant, job_id)
CROSS JOIN LATERAL (
    SELECT *
    FROM jobs.history
    WHERE history.tenant = wanted.tenant AND history.job_id = wanted.job_id
    LIMIT 1
) AS h
CROSS JOIN LATERAL (
    SELECT
        array_agg(step ->> 'key' ORDER BY number) AS keys,
        array_agg(step ->> 'kind' ORDER BY number) AS kinds,
        -- `json` keeps a result's text as the worker sent it.
        array_agg((step -> 'result')::text ORDER BY number) AS results,
        array_agg((step ->> 'attempt')::integer ORDER BY number) AS attempts,
        array_agg((step ->> 'end_time')::timestamptz ORDER BY number) AS end_times,
        array_agg((step ->> 'compensation')::smallint ORDER BY number) AS compensations,
        array_agg((step ->> 'compensate_time')::timestamptz ORDER BY number) AS compensate_times
    FROM json_array_elements(h.steps) WITH ORDINALITY AS steps (step, number)
) AS s

-- name: find_revisions
-- Returns how far jobs have come that are not over, or are dead letters.
SELECT job_id, revision FROM jobs.jobs WHERE job_id = ANY ($1::uuid[])

-- name: find_last_revisions
-- Returns at which revision jobs were over: those in $2, of the tenants in $1.
SELECT h.job_id, h.revision
FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant, job_id)
CROSS JOIN LATERAL (
    SELECT job_id, revision
    FROM jobs.history
    WHERE history.tenant = wanted.tenant AND history.job_id = wanted.job_id
    LIMIT 1
) AS h
