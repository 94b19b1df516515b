-- Turns at jobs: how they go on and end. The tenant is $1 where rows of one tenant are meant.
--
-- A batch is joined to the rows that it is about by hash: the series beside the arrays, whose length
-- the planner cannot know, has it expect many. Each with each, 500 reports took four times as long.

-- name: lock_leases
-- Locks leases of a session with what their ends depend on: the jobs first, and those that wait for
-- them, in one order for everybody. Whoever changes a lease holds the lock of its job: of a wish to
-- cancel, or the end of a wait, that was just stored, the turn hears.
WITH wanted AS (
    SELECT *
    FROM ROWS FROM (
        unnest($2::uuid[]), generate_series(1, cardinality($2))
    ) AS w (job_id, number)
),
locked AS MATERIALIZED (
    SELECT
        job_id, attempt, crash_count, max_attempts, initial_backoff, max_backoff,
        rollback_attempt, rollback_outcome, cancel_rollback, parent_job_id,
        tenant, function, worker, request_id, traceparent
    FROM jobs.jobs
    WHERE job_id = ANY ($2::uuid[] || ARRAY(
        SELECT parent_job_id FROM jobs.jobs
        WHERE job_id = ANY ($2::uuid[]) AND parent_job_id IS NOT NULL
    ))
    ORDER BY job_id
    FOR UPDATE
)
SELECT
    l.job_id, l.epoch, l.session_id, l.last_sequence, l.steps_bytes, l.rollback, l.resumed,
    j.attempt, j.crash_count, j.max_attempts, j.initial_backoff, j.max_backoff,
    j.rollback_attempt, j.rollback_outcome, j.cancel_rollback, j.parent_job_id,
    j.tenant, j.function, j.worker, j.request_id, j.traceparent
FROM locked AS j
JOIN wanted AS w ON w.job_id = j.job_id
CROSS JOIN LATERAL (
    SELECT * FROM jobs.leases WHERE leases.job_id = j.job_id LIMIT 1 FOR UPDATE
) AS l
WHERE l.session_id = $1
ORDER BY l.job_id

-- name: find_closed
-- Returns the turns at jobs that a session's own reports have ended, of a day at most: as long as
-- that nobody waits for an answer, and the other days of the history need not be looked at.
SELECT job_id, epoch, closed_sequence
FROM jobs.jobs
WHERE job_id = ANY ($2::uuid[]) AND closed_session = $1
UNION ALL
SELECT w.job_id, h.epoch, h.closed_sequence
FROM unnest($2::uuid[]) AS w (job_id)
CROSS JOIN LATERAL (
    SELECT closed_session, epoch, closed_sequence
    FROM jobs.history
    WHERE history.job_id = w.job_id AND end_time > now() - interval '1 day'
    ORDER BY end_time DESC
    LIMIT 1
) AS h
WHERE h.closed_session = $1

-- name: find_steps
-- Returns which of the keys in $2 are those of steps that jobs have finished, or that wait.
SELECT job_id, key, true AS finished, kind <> 'run' AS waits
FROM jobs.steps
WHERE job_id = ANY ($1::uuid[]) AND key = ANY ($2::text[])
UNION ALL
SELECT job_id, key, false, true
FROM jobs.waits
WHERE job_id = ANY ($1::uuid[]) AND key = ANY ($2::text[])

-- name: find_undoable
-- Returns the jobs that have steps to undo.
SELECT DISTINCT job_id FROM jobs.steps WHERE job_id = ANY ($1::uuid[]) AND compensation = 1

-- name: find_compensations
-- Returns the steps of jobs that can be undone or were.
SELECT job_id, key, compensation
FROM jobs.steps
WHERE job_id = ANY ($1::uuid[]) AND compensation > 0

-- name: note_undone
-- Notes that steps were undone.
UPDATE jobs.steps AS s
SET compensation = 2, compensate_time = now()
FROM unnest($1::uuid[], $2::text[]) AS u (job_id, key)
WHERE s.job_id = u.job_id AND s.key = u.key AND s.compensation = 1 AND s.job_id = ANY ($1::uuid[])

-- name: insert_steps
-- Stores finished steps; one that is stored already stays as it is.
INSERT INTO jobs.steps (job_id, tenant, key, result, attempt, compensation)
SELECT s.job_id, s.tenant, s.key, s.result::json, s.attempt, s.compensation
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::smallint[])
    WITH ORDINALITY AS s (job_id, tenant, key, result, attempt, compensation, position)
ORDER BY s.position
ON CONFLICT (job_id, key) DO NOTHING

-- name: advance_leases
-- Notes the newest report of leases that go on, and what it said of progress; `undone` when a step
-- was undone, which counts the turns at undoing anew.
WITH news AS (
    SELECT *
    FROM ROWS FROM (
        unnest(
            $1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[],
            $5::float8[], $6::text[], $7::text[], $8::boolean[]
        ),
        generate_series(1, cardinality($1))
    ) AS n (job_id, epoch, last_sequence, steps_bytes, fraction, message, partial, undone, number)
),
advanced AS (
    UPDATE jobs.leases AS l
    SET last_sequence = news.last_sequence, steps_bytes = news.steps_bytes
    FROM news
    WHERE l.job_id = news.job_id AND l.epoch = news.epoch AND l.job_id = ANY ($1::uuid[])
)
UPDATE jobs.jobs AS j
SET revision = j.revision + 1,
    progress_fraction = coalesce(news.fraction, j.progress_fraction),
    progress_message = coalesce(news.message, j.progress_message),
    progress_partial = coalesce(news.partial::json, j.progress_partial),
    rollback_attempt = CASE WHEN news.undone THEN 0 ELSE j.rollback_attempt END
FROM news
WHERE j.job_id = news.job_id
    AND j.epoch = news.epoch
    AND j.state IN ('running', 'rolling_back')
    AND j.job_id = ANY ($1::uuid[])

-- name: complete_jobs
-- Ends turns whose functions returned and of which there is nothing else to say: of jobs of the
-- session in $5 without steps, and without anybody who waits for them. Returns those it took; the
-- others it leaves as they are, for whoever has to say why.
WITH ending AS (
    SELECT *
    FROM ROWS FROM (
        unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[]),
        generate_series(1, cardinality($1))
    ) AS e (job_id, epoch, sequence, result, number)
),
held AS (
    SELECT l.job_id
    FROM jobs.leases AS l
    JOIN ending AS e ON e.job_id = l.job_id AND e.epoch = l.epoch
    WHERE l.job_id = ANY ($1::uuid[])
        AND l.session_id IS NOT DISTINCT FROM $5
        AND l.last_sequence < e.sequence
        AND l.steps_bytes = 0
        AND NOT l.rollback
),
-- What the lease said holds as long as the job runs in the same turn.
gone AS (
    DELETE FROM jobs.jobs AS j
    USING ending AS e
    WHERE j.job_id = ANY (ARRAY(SELECT job_id FROM held))
        AND j.job_id = e.job_id
        AND j.epoch = e.epoch
        AND j.state = 'running'
        AND j.parent_job_id IS NULL
    RETURNING
        j.job_id, j.tenant, j.function, j.event_id, j.event_name, j.data, j.state, j.revision,
        j.attempt, j.max_attempts, j.crash_count, j.priority, j.key, j.version, j.epoch, j.worker,
        j.schedule, j.progress_fraction, j.progress_message, j.progress_partial,
        j.failure_kind, j.failure_message, j.failure_permanent,
        j.cancel_time, j.cancel_reason, j.cancel_rollback,
        j.request_id, j.traceparent, j.create_time, j.start_time, e.sequence, e.result
),
freed AS (
    DELETE FROM jobs.leases WHERE job_id = ANY (ARRAY(SELECT job_id FROM gone))
),
unheard AS (
    DELETE FROM jobs.signals WHERE job_id = ANY (ARRAY(SELECT job_id FROM gone))
),
archived AS (
    INSERT INTO jobs.history (
        job_id, tenant, function, event_id, event_name, data, left_state, state, revision,
        attempt, max_attempts, crash_count, priority, key, version, epoch,
        schedule, progress_fraction, progress_message, progress_partial, result,
        failure_kind, failure_message, failure_permanent,
        cancel_time, cancel_reason, cancel_rollback,
        request_id, traceparent, closed_session, closed_sequence, create_time, start_time
    )
    SELECT
        job_id, tenant, function, event_id, event_name, data, state, 'succeeded', revision + 1,
        attempt, max_attempts, crash_count, priority, key, version, epoch,
        schedule, progress_fraction, progress_message, progress_partial, result::json,
        failure_kind, failure_message, failure_permanent,
        cancel_time, cancel_reason, cancel_rollback,
        request_id, traceparent, $5, sequence, create_time, start_time
    FROM gone
    ORDER BY job_id
)
SELECT job_id, tenant, function, attempt, worker, request_id, traceparent FROM gone

-- name: archive_jobs
-- Ends turns at jobs that are over, fenced by epoch and session, and moves the jobs into the
-- history with their steps. Returns those that another job waits for.
WITH ending AS (
    SELECT *
    FROM ROWS FROM (
        unnest(
            $1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::int[],
            $7::text[], $8::text[], $9::boolean[], $10::bigint[],
            $11::float8[], $12::text[], $13::text[]
        ),
        generate_series(1, cardinality($1))
    ) AS e (
        job_id, epoch, session_id, state, result, crashes,
        failure_kind, failure_message, failure_permanent, sequence,
        fraction, message, partial, number
    )
),
freed AS (
    DELETE FROM jobs.leases AS l
    USING ending AS e
    WHERE l.job_id = ANY ($1::uuid[])
        AND l.job_id = e.job_id
        AND l.epoch = e.epoch
        AND l.session_id = e.session_id
    RETURNING l.job_id
),
gone AS (
    DELETE FROM jobs.jobs
    WHERE job_id = ANY (ARRAY(SELECT job_id FROM freed))
    RETURNING
        job_id, tenant, function, event_id, event_name, data, state, revision,
        attempt, max_attempts, crash_count, priority, key, version, epoch,
        parent_job_id, parent_key, schedule,
        progress_fraction, progress_message, progress_partial,
        failure_kind, failure_message, failure_permanent,
        cancel_time, cancel_reason, cancel_rollback,
        rollback_outcome, rollback_attempt, rollback_failure_kind, rollback_failure_message,
        request_id, traceparent, create_time, start_time
),
stepped AS (
    DELETE FROM jobs.steps
    WHERE job_id = ANY (ARRAY(SELECT job_id FROM freed))
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
unwaited AS (
    DELETE FROM jobs.waits WHERE job_id = ANY (ARRAY(SELECT job_id FROM freed))
),
unheard AS (
    DELETE FROM jobs.signals WHERE job_id = ANY (ARRAY(SELECT job_id FROM freed))
),
archived AS (
    INSERT INTO jobs.history (
        job_id, tenant, function, event_id, event_name, data, left_state, state, revision,
        attempt, max_attempts, crash_count, priority, key, version, epoch, parent_job_id,
        schedule, progress_fraction, progress_message, progress_partial, result,
        failure_kind, failure_message, failure_permanent,
        cancel_time, cancel_reason, cancel_rollback, rollback_outcome, rollback_attempt,
        rollback_failure_kind, rollback_failure_message, request_id, traceparent,
        closed_session, closed_sequence, steps, create_time, start_time
    )
    SELECT
        g.job_id, tenant, function, event_id, event_name, data, g.state, e.state, revision + 1,
        attempt, max_attempts, crash_count + e.crashes, priority, key, version, g.epoch,
        parent_job_id, schedule,
        coalesce(e.fraction, progress_fraction),
        coalesce(e.message, progress_message),
        coalesce(e.partial::json, progress_partial),
        e.result::json,
        coalesce(e.failure_kind, g.failure_kind),
        coalesce(e.failure_message, g.failure_message),
        coalesce(e.failure_permanent, g.failure_permanent),
        cancel_time, cancel_reason, cancel_rollback, rollback_outcome, rollback_attempt,
        rollback_failure_kind, rollback_failure_message, request_id, traceparent,
        CASE WHEN e.sequence IS NOT NULL THEN e.session_id END, e.sequence,
        folded.steps, create_time, start_time
    FROM gone AS g
    JOIN ending AS e ON e.job_id = g.job_id
    LEFT JOIN folded ON folded.job_id = g.job_id
    ORDER BY g.job_id
)
SELECT
    g.job_id, parent_job_id, parent_key, e.state, e.result,
    coalesce(e.failure_kind, g.failure_kind) AS failure_kind,
    coalesce(e.failure_message, g.failure_message) AS failure_message
FROM gone AS g
JOIN ending AS e ON e.job_id = g.job_id
WHERE parent_job_id IS NOT NULL

-- name: put_back
-- Ends turns at jobs that are not over, or are dead letters, fenced by epoch and session, and puts
-- back what a worker is to take up again: among what is ready, or among the delayed where it has to
-- wait. Waits are in seconds; null parks the job. Returns those that another job waits for.
WITH ending AS (
    SELECT
        *,
        -- A dead letter says why: one that was cancelled and then got stuck has no other reason.
        CASE WHEN state = 'dead_lettered' THEN rollback_failure_kind END AS buried_for
    FROM ROWS FROM (
        unnest(
            $1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::float8[], $6::int[], $7::int[],
            $8::text[], $9::text[], $10::boolean[], $11::bigint[],
            $12::float8[], $13::text[], $14::text[],
            $15::text[], $16::text[], $17::text[], $18::int[]
        ),
        generate_series(1, cardinality($1))
    ) AS e (
        job_id, epoch, session_id, state, wait, attempts_given_back, crashes,
        failure_kind, failure_message, failure_permanent, sequence,
        fraction, message, partial,
        rollback_outcome, rollback_failure_kind, rollback_failure_message, rollback_attempt, number
    )
),
freed AS (
    DELETE FROM jobs.leases AS l
    USING ending AS e
    WHERE l.job_id = ANY ($1::uuid[])
        AND l.job_id = e.job_id
        AND l.epoch = e.epoch
        AND l.session_id = e.session_id
    RETURNING l.job_id
),
closed AS (
    UPDATE jobs.jobs AS j
    SET state = f.state,
        revision = j.revision + 1,
        attempt = j.attempt - f.attempts_given_back,
        crash_count = j.crash_count + f.crashes,
        worker = NULL,
        progress_fraction = coalesce(f.fraction, j.progress_fraction),
        progress_message = coalesce(f.message, j.progress_message),
        progress_partial = coalesce(f.partial::json, j.progress_partial),
        failure_kind = coalesce(f.failure_kind, j.failure_kind, f.buried_for),
        failure_message = coalesce(
            f.failure_message, j.failure_message,
            CASE WHEN f.buried_for IS NOT NULL THEN f.rollback_failure_message END
        ),
        failure_permanent = coalesce(
            f.failure_permanent, j.failure_permanent,
            CASE WHEN f.buried_for IS NOT NULL THEN false END
        ),
        rollback_outcome = coalesce(f.rollback_outcome, j.rollback_outcome),
        rollback_attempt = f.rollback_attempt,
        rollback_failure_kind = coalesce(f.rollback_failure_kind, j.rollback_failure_kind),
        rollback_failure_message = coalesce(f.rollback_failure_message, j.rollback_failure_message),
        closed_session = CASE WHEN f.sequence IS NOT NULL THEN f.session_id END,
        closed_sequence = f.sequence,
        ready_time = CASE
            WHEN f.state <> 'dead_lettered' THEN now() + f.wait * interval '1 second'
        END,
        end_time = CASE WHEN f.state = 'dead_lettered' THEN now() END
    FROM ending AS f
    WHERE j.job_id = ANY (ARRAY(SELECT job_id FROM freed)) AND j.job_id = f.job_id
    RETURNING
        j.job_id, j.function, j.tenant, j.key, j.pin, j.priority, j.bytes, j.state, j.ready_time,
        f.wait, j.parent_job_id, j.parent_key, j.failure_kind, j.failure_message
),
delayed AS (
    INSERT INTO jobs.delayed (job_id, function, tenant, priority, ready_time)
    SELECT job_id, function, tenant, priority, ready_time
    FROM closed
    WHERE ready_time IS NOT NULL AND wait > 0
),
readied AS (
    INSERT INTO jobs.ready (job_id, function, tenant, key, version, rank, bytes, ready_time)
    SELECT
        job_id, function, tenant, key, pin,
        CASE
            WHEN state IN ('waiting', 'rolling_back') THEN jobs.rank_begun(ready_time, priority)
            ELSE jobs.rank(ready_time, priority)
        END,
        bytes, ready_time
    FROM closed
    WHERE ready_time IS NOT NULL AND wait <= 0
    ORDER BY job_id
),
buried AS (
    INSERT INTO jobs.dead_letters (job_id, tenant, function, failure_kind)
    SELECT job_id, tenant, function, failure_kind
    FROM closed
    WHERE state = 'dead_lettered'
    ORDER BY job_id
)
SELECT job_id, parent_job_id, parent_key, state, NULL AS result, failure_kind, failure_message
FROM closed
WHERE state = 'dead_lettered' AND parent_job_id IS NOT NULL
